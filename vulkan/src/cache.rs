//! Compiled pipelines, kept between runs, so that the second start is fast.
//!
//! The file is the driver's own data behind a digest. A file that is missing, damaged, of another device or driver is
//! ignored: the driver compiles again. `ADFLOW_CACHE_DIR` chooses the folder; empty switches the cache off.

use adflow::checksum::Digest;
use adflow::file::write_atomic;
use ash::vk;
use std::path::{Path, PathBuf};

/// Larger files are not ours.
const LIMIT: u64 = 64 << 20;

fn digest(data: &[u8]) -> [u8; 8] {
    let mut digest = Digest::new(0);
    digest.write(data);
    digest.finish().to_le_bytes()
}

/// Where the cache of a device lies.
pub(crate) fn path(properties: &vk::PhysicalDeviceProperties) -> Option<PathBuf> {
    let set = |name: &str| std::env::var_os(name).filter(|v| !v.is_empty()).map(PathBuf::from);
    let folder = match std::env::var_os("ADFLOW_CACHE_DIR") {
        Some(folder) if folder.is_empty() => return None,
        Some(folder) => PathBuf::from(folder),
        None => set("XDG_CACHE_HOME")
            .or_else(|| set("LOCALAPPDATA"))
            .or_else(|| set("HOME").map(|home| home.join(".cache")))?
            .join("adflow"),
    };
    let uuid: String = properties.pipeline_cache_uuid.iter().map(|b| format!("{b:02x}")).collect();
    Some(folder.join(format!("vulkan-{:04x}-{:04x}-{uuid}.bin", properties.vendor_id, properties.device_id)))
}

/// The driver's data of an earlier run, or nothing.
pub(crate) fn read(path: &Path, properties: &vk::PhysicalDeviceProperties) -> Vec<u8> {
    let fits = |bytes: &Vec<u8>| {
        let Some((sum, data)) = bytes.split_at_checked(8) else { return false };
        let word = |at: usize| data.get(at..at + 4).map(|b| u32::from_le_bytes([b[0], b[1], b[2], b[3]]));
        // The header that every driver writes: length, version 1, vendor, device, UUID.
        sum == digest(data)
            && word(4) == Some(1)
            && word(8) == Some(properties.vendor_id)
            && word(12) == Some(properties.device_id)
            && data.get(16..32) == Some(&properties.pipeline_cache_uuid)
    };
    if std::fs::metadata(path).map_or(true, |m| m.len() > LIMIT) {
        return Vec::new();
    }
    std::fs::read(path).ok().filter(fits).map_or_else(Vec::new, |bytes| bytes[8..].to_vec())
}

/// Keeps the driver's data. A cache that cannot be written is none: nothing is reported.
pub(crate) fn write(path: &Path, data: &[u8]) {
    if let Some(folder) = path.parent()
        && std::fs::create_dir_all(folder).is_ok()
    {
        let bytes = [&digest(data)[..], data].concat();
        let _ = write_atomic(path, &bytes);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_own_undamaged_file_is_read() {
        let folder = std::env::temp_dir().join(format!("adflow-cache-{}", std::process::id()));
        let path = folder.join("cache.bin");
        let properties = vk::PhysicalDeviceProperties { vendor_id: 7, device_id: 9, ..Default::default() };
        assert!(read(&path, &properties).is_empty(), "a missing file");
        let mut data = Vec::new();
        for word in [32u32, 1, 7, 9] {
            data.extend(word.to_le_bytes());
        }
        data.extend([0; 16 + 40]);
        write(&path, &data);
        assert_eq!(read(&path, &properties), data);
        let other = vk::PhysicalDeviceProperties { vendor_id: 8, ..properties };
        assert!(read(&path, &other).is_empty(), "another vendor");
        let good = std::fs::read(&path).unwrap();
        for at in 0..good.len() {
            let mut bad = good.clone();
            bad[at] ^= 1;
            std::fs::write(&path, &bad).unwrap();
            assert!(read(&path, &properties).is_empty(), "byte {at}");
            std::fs::write(&path, &good[..at]).unwrap();
            assert!(read(&path, &properties).is_empty(), "cut at {at}");
        }
        std::fs::remove_dir_all(folder).unwrap();
    }
}
