//! A training that was interrupted, as bytes: where it was, parameters and moments.
//!
//! Little-endian: magic, digest of options and data, epoch, step within it, steps so far, loss sum and count of the epoch,
//! whether training has stopped, what the objective remembers, number of floats, then trainable parameters and the
//! optimisers' moments, and a CRC-32 of it all. Batches are drawn from a counter, so nothing else is needed to go on as if
//! nothing had happened.

use super::objective::Memory;
use crate::checksum::crc32;
use crate::detect::error::{Result, TrainError};
use alloc::string::ToString;
use alloc::vec::Vec;
use bytemuck::{Pod, Zeroable};
use core::mem::size_of;

const MAGIC: [u8; 8] = *b"\x89ADFCK2\n";

/// Where a training is: 144 bytes.
#[derive(Clone, Copy, Debug, PartialEq, Pod, Zeroable)]
#[repr(C)]
pub struct Position {
    magic: [u8; 8],
    /// Digest of everything that decides the result.
    pub digest: u64,
    /// Epochs finished.
    pub epoch: u64,
    /// Batches done in the current epoch.
    pub batch: u64,
    /// Optimiser steps so far.
    pub steps: u64,
    /// Sum of losses in the current epoch, weighted by samples.
    pub loss_sum: f64,
    /// Samples in that sum.
    pub loss_count: u64,
    /// Mean loss of the last finished epoch.
    pub last_loss: f64,
    /// 1 once the objective has said to stop.
    pub stopped: u64,
    /// What the objective remembers.
    pub memory: Memory,
    floats: u64,
}

impl Position {
    /// Before the first step.
    pub fn start(digest: u64, memory: Memory) -> Position {
        Position { magic: MAGIC, digest, last_loss: f64::NAN, memory, ..Position::zeroed() }
    }
}

/// Length of a checkpoint of so many parameters and moments.
pub fn len(params: usize, state: usize) -> usize {
    size_of::<Position>() + 4 * (params + state + 1)
}

/// Bytes of a checkpoint.
pub fn write(position: &Position, params: &[f32], state: &[f32]) -> Vec<u8> {
    let head = Position { magic: MAGIC, floats: (params.len() + state.len()) as u64, ..*position };
    let mut out = Vec::with_capacity(len(params.len(), state.len()));
    out.extend_from_slice(bytemuck::bytes_of(&head));
    out.extend_from_slice(bytemuck::cast_slice(params));
    out.extend_from_slice(bytemuck::cast_slice(state));
    let sum = crc32(&out);
    out.extend_from_slice(&sum.to_le_bytes());
    out
}

/// Reads a checkpoint into parameters and moments, which stay as they are on errors.
pub fn read(bytes: &[u8], digest: u64, params: &mut [f32], state: &mut [f32]) -> Result<Position> {
    let bad = |text: &str| Err(TrainError::Checkpoint(text.to_string()));
    let Some((head, rest)) = bytes.split_at_checked(size_of::<Position>()) else {
        return bad("it is too short");
    };
    let head: Position = bytemuck::pod_read_unaligned(head);
    if head.magic != MAGIC {
        return bad("it is not a checkpoint of adflow");
    }
    if head.digest != digest {
        return bad("it was made with other images, options, backbone or version");
    }
    let (a, b) = (4 * params.len(), 4 * state.len());
    if head.floats != (params.len() + state.len()) as u64 || rest.len() != a + b + 4 {
        return bad("it is truncated");
    }
    let (body, sum) = bytes.split_at(bytes.len() - 4);
    if crc32(body).to_le_bytes() != sum {
        return bad("it is damaged");
    }
    bytemuck::cast_slice_mut::<f32, u8>(params).copy_from_slice(&rest[..a]);
    bytemuck::cast_slice_mut::<f32, u8>(state).copy_from_slice(&rest[a..a + b]);
    Ok(head)
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::vec;

    #[test]
    fn round_trip_and_every_damage_is_noticed() {
        let position =
            Position { epoch: 3, batch: 5, steps: 77, loss_sum: 1.5, loss_count: 96, ..Position::start(9, [0.5; 8]) };
        let (params, state) = ([1.0f32, 2.0], [3.0f32, 4.0, 5.0, 6.0]);
        let bytes = write(&position, &params, &state);
        let (mut p, mut s) = ([0.0; 2], [0.0; 4]);
        let back = read(&bytes, 9, &mut p, &mut s).unwrap();
        assert_eq!((back.epoch, back.batch, back.steps, p, s), (3, 5, 77, params, state));
        for at in 0..bytes.len() {
            let mut damaged = bytes.clone();
            damaged[at] ^= 0x10;
            assert!(read(&damaged, 9, &mut p, &mut s).is_err(), "byte {at}");
            assert!(read(&bytes[..at], 9, &mut p, &mut s).is_err(), "length {at}");
        }
        assert!(read(&bytes, 8, &mut p, &mut s).is_err());
        assert_eq!(vec![1.0, 2.0], p);
    }
}
