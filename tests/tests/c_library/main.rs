//! The C library from outside: programs in C and C++, its ABI over time, its installation, its examples for other libraries.

mod abi;
mod c_abi;
mod choices;
mod gstreamer;
mod halcon;
mod install;
mod opencv;
