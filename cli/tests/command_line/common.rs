//! What the tests of the command share: the built binary, small photographs, one trained model.

use std::fs;
use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::OnceLock;
use std::time::Duration;

use adflow::rng::Rng;
use image::{DynamicImage, GrayImage, ImageBuffer, Luma, Rgb, RgbImage};
use tempfile::TempDir;

/// Options that make training a matter of a second.
pub const QUICK: [&str; 6] = ["--method", "gauss", "--size", "64", "--held-out", "0.25"];

/// What a run of the command gave.
pub struct Run {
    pub code: i32,
    pub stdout: String,
    pub stderr: String,
}

/// Starts the command with these arguments.
pub fn command<I: IntoIterator<Item = S>, S: AsRef<std::ffi::OsStr>>(args: I) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_adflow"));
    command.args(args);
    command
}

/// Runs the command to its end.
pub fn adflow<I: IntoIterator<Item = S>, S: AsRef<std::ffi::OsStr>>(args: I) -> Run {
    finished(command(args).output().expect("the command starts"))
}

pub fn finished(output: Output) -> Run {
    Run {
        code: output.status.code().expect("the command exits"),
        stdout: String::from_utf8(output.stdout).expect("UTF-8"),
        stderr: String::from_utf8(output.stderr).expect("UTF-8"),
    }
}

/// Starts the command, presses Ctrl-C once `when` holds for what it has said on standard error, and waits for its end.
#[cfg(unix)]
pub fn interrupted(args: &[&str], when: impl Fn(&str) -> bool) -> Run {
    let mut child = command(args).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut stderr = BufReader::new(child.stderr.take().unwrap());
    let mut said = String::new();
    while !when(&said) {
        assert!(stderr.read_line(&mut said).unwrap() > 0, "ended too early: {said}");
    }
    std::thread::sleep(Duration::from_millis(300));
    assert!(Command::new("kill").args(["-INT", &child.id().to_string()]).status().unwrap().success());
    stderr.read_to_string(&mut said).unwrap();
    Run { stderr: said, ..finished(child.wait_with_output().unwrap()) }
}

impl Run {
    #[track_caller]
    pub fn ok(self) -> Self {
        assert_eq!(self.code, 0, "{}{}", self.stdout, self.stderr);
        self
    }

    /// The command failed in an orderly way and said all of this.
    #[track_caller]
    pub fn fails_with(self, code: i32, words: &[&str]) -> Self {
        assert_eq!(self.code, code, "{}{}", self.stdout, self.stderr);
        for word in words {
            assert!(self.stderr.contains(word), "no \"{word}\" in: {}", self.stderr);
        }
        assert!(!self.stderr.contains("panicked"), "{}", self.stderr);
        self
    }
}

/// A path as an argument.
pub fn arg(path: &Path) -> &str {
    path.to_str().expect("UTF-8 path")
}

/// A 48x40 grey photograph of a striped part; `defect` puts a bright blot on it.
pub fn photograph(seed: u64, defect: bool) -> GrayImage {
    let mut rng = Rng::new(77, seed, 0);
    let (phase, gain) = (rng.range(0.0..2.0), rng.range(0.9..1.1));
    GrayImage::from_fn(48, 40, |x, y| {
        let stripe = ((x as f32 * 0.7 + phase).sin() * 30.0 + 110.0) * gain + rng.range(-6.0..6.0);
        let blot = defect && (x as i32 - 30).pow(2) + (y as i32 - 18).pow(2) < 30;
        Luma([if blot { 250 } else { stripe as u8 }])
    })
}

/// Writes `count` good photographs into a folder.
pub fn good_parts(folder: &Path, count: u64) {
    fs::create_dir_all(folder).unwrap();
    for i in 0..count {
        photograph(i, false).save(folder.join(format!("{i}.png"))).unwrap();
    }
}

/// A data set in the MVTec AD layout: 24 to train, 6 good, 5 with a blot.
pub fn data_set(root: &Path) {
    good_parts(&root.join("train/good"), 24);
    fs::create_dir_all(root.join("test/good")).unwrap();
    fs::create_dir_all(root.join("test/blot")).unwrap();
    fs::create_dir_all(root.join("ground_truth/blot")).unwrap();
    for i in 0..6 {
        photograph(100 + i, false).save(root.join(format!("test/good/{i}.png"))).unwrap();
    }
    for i in 0..5 {
        photograph(200 + i, true).save(root.join(format!("test/blot/{i}.png"))).unwrap();
        let mask = GrayImage::from_fn(48, 40, |x, y| {
            Luma([if (x as i32 - 30).pow(2) + (y as i32 - 18).pow(2) < 30 { 255 } else { 0 }])
        });
        // Both names are in use in public data sets.
        let suffix = if i % 2 == 0 { "_mask" } else { "" };
        mask.save(root.join(format!("ground_truth/blot/{i}{suffix}.png"))).unwrap();
    }
}

/// A folder with a data set and a model trained on it.
pub struct Fixture {
    _folder: TempDir,
    data: PathBuf,
    model: PathBuf,
}

impl Fixture {
    /// Made once for all tests.
    pub fn get() -> &'static Self {
        static FIXTURE: OnceLock<Fixture> = OnceLock::new();
        FIXTURE.get_or_init(|| {
            let folder = tempfile::tempdir().unwrap();
            let (data, model) = (folder.path().join("data"), folder.path().join("part.adflow"));
            data_set(&data);
            adflow([&["train", arg(&data), "-o", arg(&model)], &QUICK[..]].concat()).ok();
            Self { _folder: folder, data, model }
        })
    }

    pub fn data(&self) -> &Path {
        &self.data
    }

    pub fn model(&self) -> &Path {
        &self.model
    }
}

/// The grey photograph with 16 bits a sample.
pub fn deep(image: &GrayImage) -> DynamicImage {
    ImageBuffer::from_fn(image.width(), image.height(), |x, y| Luma([u16::from(image.get_pixel(x, y).0[0]) * 257]))
        .into()
}

/// The grey photograph as colour.
pub fn coloured(image: &GrayImage) -> RgbImage {
    RgbImage::from_fn(image.width(), image.height(), |x, y| Rgb([image.get_pixel(x, y).0[0]; 3]))
}
