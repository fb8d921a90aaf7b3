//! Weights from a safetensors file: a JSON table of names, types, shapes and byte ranges, then the bytes.
//!
//! The `safetensors` crate checks the table against the bytes (ranges inside the file, in order, without gaps or overlap,
//! lengths that fit the shapes); values of type F32, F16 and BF16 become f32. A tensor of another type is no error until
//! somebody asks for it. Format: <https://github.com/huggingface/safetensors>.

use super::{Weights, WeightsError};
use crate::checksum::Digest;
use alloc::format;
use alloc::vec::Vec;
use half::{bf16, f16};
use safetensors::{Dtype, SafeTensors};
use std::path::Path;

/// Reads a file.
///
/// # Errors
/// [`WeightsError::File`] names the file and says why it cannot be read or is no safetensors file.
pub fn open(path: &Path) -> Result<Weights, WeightsError> {
    let file = |reason: &str| WeightsError::File(format!("{}: {reason}", path.display()));
    let bytes = std::fs::read(path).map_err(|error| file(&format!("{error}")))?;
    read(&bytes).map_err(|error| match error {
        WeightsError::File(reason) => file(&reason),
        other => other,
    })
}

/// Reads the bytes of a file.
///
/// ```
/// use adflow::backbones::safetensors::read;
/// use adflow::shape::Shape;
/// // One tensor of two floats, as the format has it: length of the table, table, values.
/// let table = r#"{"bias":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}}"#;
/// let mut file = (table.len() as u64).to_le_bytes().to_vec();
/// file.extend_from_slice(table.as_bytes());
/// [1.0f32, 2.0].iter().for_each(|value| file.extend_from_slice(&value.to_le_bytes()));
/// let weights = read(&file)?;
/// assert_eq!(weights.get("bias", Shape::vector(2))?, [1.0, 2.0]);
/// # Ok::<(), adflow::backbones::WeightsError>(())
/// ```
///
/// # Errors
/// [`WeightsError::File`] where they are no safetensors file. Tensors of a type that is not read are an error only when they are
/// asked for.
pub fn read(bytes: &[u8]) -> Result<Weights, WeightsError> {
    let table = SafeTensors::deserialize(bytes)
        .map_err(|error| WeightsError::File(format!("not a whole safetensors file: {error}")))?;
    let mut weights = Weights::new();
    for (name, view) in table.iter() {
        let data = view.data();
        let values: Vec<f32> = match view.dtype() {
            Dtype::F32 => data.as_chunks::<4>().0.iter().map(|b| f32::from_le_bytes(*b)).collect(),
            Dtype::F16 => data.as_chunks::<2>().0.iter().map(|b| f16::from_le_bytes(*b).to_f32()).collect(),
            Dtype::BF16 => data.as_chunks::<2>().0.iter().map(|b| bf16::from_le_bytes(*b).to_f32()).collect(),
            other => {
                weights.insert_unread(name, format!("{other}"));
                continue;
            }
        };
        weights.insert(name, view.shape(), values)?;
    }
    let mut digest = Digest::new(0);
    digest.write(bytes);
    weights.set_file(digest.finish());
    Ok(weights)
}
