//! What a training is about: everything that is given.

use super::images::{AnomalySources, Images};
use super::setup::Setup;
use crate::backbones::Backbone;
use crate::executor::Device;

/// What a training is about: everything that is given.
#[derive(Clone, Copy)]
pub(super) struct Job<'j> {
    pub images: &'j dyn Images,
    pub anomalies: AnomalySources<'j>,
    pub backbone: &'j Backbone,
    pub setup: &'j Setup,
    /// Whether the images have colour.
    pub colour: bool,
    pub device: &'j dyn Device,
}
