//! Writing a file so that nobody ever sees half of it.
//!
//! The bytes go to a temporary file in the same folder, which is flushed to the disk and then renamed over the target:
//! after a crash or a full disk the old file is still there, whole. Rename is atomic on POSIX file systems and, for files
//! on one volume, in practice on Windows.

use std::ffi::OsString;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};

/// Writes `bytes` to `path`, replacing what is there, all or nothing. Permissions of an existing file are kept. What is
/// no file (a device, a pipe) is written into and stays what it is: `/dev/null` must not become a file.
///
/// ```
/// use adflow::file::write_atomic;
/// let path = std::env::temp_dir().join(format!("adflow-doc-{}.txt", std::process::id()));
/// write_atomic(&path, b"first")?;
/// write_atomic(&path, b"second")?; // a reader sees the one or the other, never a part
/// assert_eq!(std::fs::read(&path)?, b"second");
/// # std::fs::remove_file(&path)?;
/// # Ok::<(), std::io::Error>(())
/// ```
///
/// # Errors
/// Whatever the file system says; the target is then untouched and the temporary file is gone.
pub fn write_atomic(path: &Path, bytes: &[u8]) -> io::Result<()> {
    if let Ok(there) = fs::metadata(path)
        && !there.is_file()
        && !there.is_dir()
    {
        return OpenOptions::new().write(true).open(path)?.write_all(bytes);
    }
    // A link keeps pointing where it points: the file behind it is replaced.
    let target = fs::canonicalize(path).unwrap_or_else(|_| path.to_path_buf());
    if target.is_dir() {
        return Err(io::Error::new(io::ErrorKind::IsADirectory, "is a folder, not a file"));
    }
    let (temporary, file) = create_beside(&target)?;
    let written = fill(file, bytes, &target).and_then(|()| fs::rename(&temporary, &target));
    if written.is_err() {
        // The first error is the one to report.
        let _ = fs::remove_file(&temporary);
    }
    written?;
    sync_folder(&target);
    Ok(())
}

/// A new file in the folder of `target`, with a name nobody else uses.
fn create_beside(target: &Path) -> io::Result<(PathBuf, File)> {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let name = target.file_name().ok_or_else(|| io::Error::new(io::ErrorKind::InvalidInput, "path names no file"))?;
    loop {
        let mut temporary = OsString::from(".");
        // Long names would not fit with the addition.
        temporary.push(if name.len() > 200 { "adflow".as_ref() } else { name });
        temporary.push(format!(".{}-{}.tmp", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed)));
        let temporary = target.with_file_name(temporary);
        match OpenOptions::new().write(true).create_new(true).open(&temporary) {
            Ok(file) => return Ok((temporary, file)),
            Err(e) if e.kind() == io::ErrorKind::AlreadyExists => {}
            Err(e) => return Err(e),
        }
    }
}

fn fill(mut file: File, bytes: &[u8], target: &Path) -> io::Result<()> {
    file.write_all(bytes)?;
    if let Ok(old) = fs::metadata(target) {
        file.set_permissions(old.permissions())?;
    }
    file.sync_all()
}

/// Makes the rename itself survive a power failure, where folders can be opened.
fn sync_folder(target: &Path) {
    if cfg!(unix)
        && let Some(folder) = target.parent()
        && let Ok(folder) = File::open(if folder.as_os_str().is_empty() { Path::new(".") } else { folder })
    {
        // The file is complete either way.
        let _ = folder.sync_all();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn folder(name: &str) -> PathBuf {
        let folder = std::env::temp_dir().join(format!("adflow-file-{}-{name}", std::process::id()));
        fs::create_dir_all(&folder).unwrap();
        folder
    }

    fn names(folder: &Path) -> Vec<OsString> {
        fs::read_dir(folder).unwrap().map(|e| e.unwrap().file_name()).collect()
    }

    #[test]
    fn writes_replaces_and_leaves_nothing_else() {
        let folder = folder("replace");
        let path = folder.join("model.adflow");
        write_atomic(&path, b"first").unwrap();
        write_atomic(&path, b"second, longer").unwrap();
        write_atomic(&path, b"").unwrap();
        write_atomic(&path, b"third").unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"third");
        assert_eq!(names(&folder), ["model.adflow"]);
        let long = folder.join("x".repeat(250));
        write_atomic(&long, b"long").unwrap();
        assert_eq!(fs::read(&long).unwrap(), b"long");
        fs::remove_dir_all(folder).unwrap();
    }

    #[test]
    fn failure_leaves_nothing() {
        let folder = folder("failure");
        let target = folder.join("taken");
        fs::create_dir(&target).unwrap();
        fs::write(target.join("file"), "x").unwrap();
        assert!(write_atomic(&target, b"bytes").is_err());
        assert!(write_atomic(&folder.join("absent/model.adflow"), b"bytes").is_err());
        assert!(write_atomic(Path::new("/"), b"bytes").is_err());
        assert!(write_atomic(Path::new(""), b"bytes").is_err());
        assert_eq!(names(&folder), ["taken"]);
        fs::remove_dir_all(folder).unwrap();
    }

    #[cfg(unix)]
    #[test]
    fn devices_and_pipes_are_written_into() {
        use std::io::Read;
        use std::os::fd::AsRawFd;
        use std::os::unix::fs::{FileTypeExt, symlink};
        let folder = folder("device");
        let (pipe, device) = (folder.join("pipe"), folder.join("device"));
        let (mut reader, writer) = io::pipe().unwrap();
        symlink(format!("/dev/fd/{}", writer.as_raw_fd()), &pipe).unwrap();
        write_atomic(&pipe, b"through").unwrap();
        drop(writer);
        let mut read = Vec::new();
        reader.read_to_end(&mut read).unwrap();
        assert_eq!(read, b"through");
        symlink("/dev/null", &device).unwrap();
        if fs::metadata(&device).unwrap().file_type().is_char_device() {
            write_atomic(&device, b"nowhere").unwrap();
            assert!(fs::metadata(&device).unwrap().file_type().is_char_device());
        }
        assert_eq!(names(&folder).len(), 2);
        fs::remove_dir_all(folder).unwrap();
    }

    #[cfg(unix)]
    #[test]
    fn links_and_permissions_stay() {
        use std::os::unix::fs::{PermissionsExt, symlink};
        let folder = folder("link");
        let (path, link) = (folder.join("real"), folder.join("link"));
        fs::write(&path, "old").unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o640)).unwrap();
        symlink(&path, &link).unwrap();
        write_atomic(&link, b"new").unwrap();
        assert!(fs::symlink_metadata(&link).unwrap().is_symlink());
        assert_eq!(fs::read(&path).unwrap(), b"new");
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o640);
        fs::remove_dir_all(folder).unwrap();
    }
}
