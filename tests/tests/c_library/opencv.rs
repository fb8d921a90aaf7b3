//! The OpenCV example: matrices of every kind score as the C ABI does, and a line over pictures and a video gives the
//! verdicts of the command line, bit for bit.

use adflow_tests::programs::{
    Link, command_line, compile, compile_with, expected, repository, run, run_command, scratch, skip,
};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// How to compile with OpenCV's headers and link these libraries of it; `None` without them.
///
/// Debian's opencv4.pc is in a package that brings all of OpenCV, so the place of the headers is known here.
fn opencv(libraries: &[&str]) -> Option<Vec<String>> {
    let headers = Path::new("/usr/include/opencv4");
    for header in ["core.hpp", "imgproc.hpp", "imgcodecs.hpp", "videoio.hpp"] {
        if !headers.join("opencv2").join(header).exists() {
            skip("OpenCV", &format!("there is no {}/opencv2/{header}", headers.display()));
            return None;
        }
    }
    let mut arguments = vec!["-isystem".to_string(), headers.to_str().unwrap().to_string()];
    arguments.extend(libraries.iter().map(|library| format!("-lopencv_{library}")));
    Some(arguments)
}

const LIBRARIES: [&str; 4] = ["core", "imgproc", "imgcodecs", "videoio"];

/// The inspection line; `None` without OpenCV or a compiler.
fn inspect_line(folder: &Path) -> Option<PathBuf> {
    compile_with("examples/opencv/inspect_line.cpp", Link::Shared, folder, &opencv(&LIBRARIES)?)
}

/// Bits of the score after `before`.
fn score_after(printed: &str, before: &str) -> u32 {
    let after = printed.split(before).nth(1).unwrap_or_else(|| panic!("no {before:?} in {printed}"));
    let number = after.trim_start().split([',', '}', ':', '\n']).next().unwrap().trim();
    number.parse::<f32>().unwrap_or_else(|_| panic!("{number:?} in {printed}")).to_bits()
}

fn command_line_score(model: &str, picture: &str) -> u32 {
    score_after(&run(command_line(), &["inspect", model, picture, "--json"]), "\"score\":")
}

#[test]
fn matrices_score_as_the_c_abi_does() {
    let folder = scratch("matrices");
    let Some(arguments) = opencv(&LIBRARIES) else { return };
    let Some(program) = compile_with("tests/c/opencv.cpp", Link::Shared, &folder, &arguments) else { return };
    let e = expected();
    let (rgb, grey) = (format!("{:08x}", e.rgb), format!("{:08x}", e.grey));
    let printed = run(&program, &[&e.model, &e.bitmap, &rgb, &grey, folder.to_str().unwrap()]);
    assert!(printed.contains("opencv holds"), "{printed}");

    // The files it leaves: the line over a folder, an image sequence and a video.
    let Some(line) = inspect_line(&folder) else { return };
    let path = |name: &str| folder.join(name).to_str().unwrap().to_string();
    let (pictures, sequence, video) = (path("line"), path("line/part_%02d.png"), path("line.avi"));
    let overlays = path("overlays");
    for source in [&pictures, &sequence] {
        let printed = run(&line, &[&e.model, source, "--overlay", &overlays]);
        assert_eq!(printed.matches(": score ").count(), 3, "{printed}");
        assert_eq!(score_after(&printed, ": score "), e.rgb, "{printed}");
        assert!(printed.contains("3 frames: ") && printed.contains("scoring p50 ") && printed.contains("p99.9 "));
    }
    for name in ["000001.png", "000003.png"] {
        assert!(fs::metadata(Path::new(&overlays).join(name)).unwrap().len() > 100);
    }
    // A video is not what was recorded, but its frames have one score each, and the same threshold decides.
    let printed = run(&line, &[&e.model, &video, "--threshold", "-1", "--threads", "1", "--frames", "2"]);
    assert!(printed.contains("2 frames: 0 good, 0 unsure, 2 defective"), "{printed}");
    assert_eq!(command_line_score(&e.model, &path("line/part_01.png")), e.rgb);
}

#[test]
fn one_picture_has_one_score_on_the_command_line_in_c_and_in_opencv() {
    let folder = scratch("opencv-score");
    let Some(line) = inspect_line(&folder) else { return };
    let Some(c) = compile("examples/c/inspect.c", Link::Shared, &folder) else { return };
    let e = expected();
    let pictures = folder.join("pictures");
    fs::create_dir_all(&pictures).unwrap();
    fs::copy(&e.bitmap, pictures.join("part.bmp")).unwrap();
    let in_opencv = score_after(&run(&line, &[&e.model, pictures.to_str().unwrap()]), ": score ");
    let in_c = score_after(&run(&c, &[&e.model, &e.picture]), "score ");
    assert_eq!([in_opencv, in_c, command_line_score(&e.model, &e.bitmap)], [e.rgb; 3]);
}

#[test]
fn the_line_says_what_is_wrong() {
    let folder = scratch("wrong");
    let Some(line) = inspect_line(&folder) else { return };
    let e = expected();
    let empty = folder.join("empty");
    fs::create_dir_all(&empty).unwrap();
    let broken = folder.join("broken");
    fs::create_dir_all(&broken).unwrap();
    // The size in the header is there, the pixels are not.
    fs::write(broken.join("part.bmp"), &fs::read(&e.bitmap).unwrap()[..80]).unwrap();
    for (arguments, says) in [
        (vec!["no such file", "nowhere"], "no such file"),
        (vec![e.model.as_str(), "nowhere"], "nowhere"),
        (vec![&e.model, empty.to_str().unwrap()], "no images"),
        (vec![&e.model, broken.to_str().unwrap()], "part.bmp"),
        (vec![&e.model], "usage"),
        (vec![&e.model, &e.bitmap, "--speed", "9"], "--speed"),
        (vec![&e.model, &e.bitmap, "--overlay"], "--overlay needs a value"),
    ] {
        let output = Command::new(&line).args(&arguments).output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(1), "{arguments:?}");
        assert!(said.contains(says), "{arguments:?}: {said}");
    }
}

/// The build line of the documentation is the one that works.
#[test]
fn documented_build_line() {
    if opencv(&[]).is_none() {
        return;
    }
    let text = fs::read_to_string(repository().join("docs/integrations.md")).unwrap();
    assert!(text.contains("-lopencv_core -lopencv_imgproc -lopencv_imgcodecs -lopencv_videoio"), "{text}");
    let headers = run_command(Command::new("ls").arg("/usr/include/opencv4"));
    assert!(headers.contains("opencv2") && text.contains("-isystem /usr/include/opencv4"));
}
