//! Whole detectors: trained on made-up parts, they find what is odd, in regions, in tiles, and on any device.

mod contrast;
mod detect;
mod roi;
mod tiles;
mod vulkan_models;
