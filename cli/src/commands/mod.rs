//! One file a command; each takes its arguments and returns the exit code.

mod bench;
mod compare;
mod demo;
mod devices;
mod diff;
mod dump;
mod eval;
mod export;
mod freeze;
mod info;
mod inspect;
mod synth;
mod threshold;
mod train;
mod weak;

use crate::args::Command;
use crate::failure::Outcome;

/// Runs a command.
pub fn run(command: Command) -> Outcome<u8> {
    match command {
        Command::Demo(args) => demo::run(&args),
        Command::Train(args) => train::run(&args),
        Command::Inspect(args) => inspect::run(&args),
        Command::Eval(args) => eval::run(&args),
        Command::Compare(args) => compare::run(&args),
        Command::Info(args) => info::run(&args),
        Command::Dump(args) => dump::run(&args),
        Command::Freeze(args) => freeze::run(&args),
        Command::Bench(args) => bench::run(&args),
        Command::Export(args) => export::run(&args),
        Command::Devices(args) => devices::run(&args),
        Command::Diff(args) => diff::run(&args),
        Command::Synth(args) => synth::run(&args),
        Command::Weak(args) => weak::run(&args),
        Command::Threshold(args) => threshold::run(&args),
    }
}
