//! Files this program writes: checked before long work starts, complete or absent afterwards.

use std::fs;
use std::path::{Path, PathBuf};

use crate::failure::{Context, Failure, Outcome};

/// Writes through a temporary name in the same folder and renames, so that a full disk or a crash leaves no half file.
pub fn write(path: &Path, bytes: &[u8]) -> Outcome<()> {
    adflow::file::write_atomic(path, bytes).context(format_args!("cannot write {}", path.display()))
}

/// Serialises pretty JSON to a file, or to standard output for `-`.
pub fn write_json(path: &Path, value: &impl serde::Serialize) -> Outcome<()> {
    let mut text = serde_json::to_string_pretty(value).context("cannot write JSON")?;
    text.push('\n');
    if path == Path::new("-") {
        print!("{text}");
        return Ok(());
    }
    write(path, text.as_bytes())
}

/// Fails now if `path` could not be written later: its folder must exist and take a file.
pub fn check_writable(path: &Path) -> Outcome<()> {
    if path == Path::new("-") {
        return Ok(());
    }
    let refuse = |why: String| Failure::new(format!("cannot write {}: {why}", path.display()));
    if path.is_dir() {
        return Err(refuse("it is a folder".into()));
    }
    if path.file_name().is_none() {
        return Err(refuse("it has no file name".into()));
    }
    let folder = folder_of(path);
    if !folder.is_dir() {
        return Err(refuse(format!("folder {} does not exist", folder.display())));
    }
    // Permissions say little (root, read-only mounts, quotas): try.
    let probe = folder.join(format!(".adflow-probe-{}", std::process::id()));
    fs::write(&probe, b"probe").map_err(|e| refuse(e.to_string()))?;
    let _ = fs::remove_file(&probe);
    if path.exists() {
        fs::OpenOptions::new().append(true).open(path).map_err(|e| refuse(e.to_string()))?;
    }
    Ok(())
}

/// Makes a folder and its parents, and fails now if it cannot take files.
pub fn make_folder(path: &Path) -> Outcome<()> {
    fs::create_dir_all(path).context(format_args!("cannot make folder {}", path.display()))?;
    check_writable(&path.join("probe"))
}

/// `a/b.txt` gives `a`, `b.txt` gives `.`.
fn folder_of(path: &Path) -> PathBuf {
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent.to_path_buf(),
        _ => PathBuf::from("."),
    }
}
