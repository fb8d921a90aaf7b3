//! The GStreamer element: it compiles, it is what its documentation says, and in real pipelines its scores are those of the
//! command line, bit for bit.

use adflow_tests::programs::{
    Link, command_line, compile_with, expected, package, pixels, repository, run_command, scratch, skip,
};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

/// Arguments for a package, its headers being others' business.
fn arguments(packages: &[&str]) -> Option<Vec<String>> {
    let mut all = Vec::new();
    for name in packages {
        let found = package(name, "GStreamer")?;
        all.extend(
            found.into_iter().map(|word| word.strip_prefix("-I").map(|f| format!("-isystem{f}")).unwrap_or(word)),
        );
    }
    Some(all)
}

/// The folder with the plug-in, for `GST_PLUGIN_PATH`; `None` without GStreamer.
fn plugin() -> Option<&'static Path> {
    static PLUGIN: OnceLock<Option<PathBuf>> = OnceLock::new();
    PLUGIN.get_or_init(build).as_deref()
}

fn build() -> Option<PathBuf> {
    let folder = scratch("plugin");
    let meta = repository().join("examples/gstreamer/gstadflowmeta.c").to_str().unwrap().to_string();
    let mut arguments = arguments(&["gstreamer-base-1.0", "gstreamer-video-1.0"])?;
    arguments.extend(["-shared", "-fPIC", &meta].map(String::from));
    let built = compile_with("examples/gstreamer/gstadflow.c", Link::Shared, &folder, &arguments)?;
    // GStreamer asks a file for the plug-in of its name.
    let plugins = scratch("plugins");
    fs::copy(built, plugins.join("libgstadflow.so")).unwrap();
    Some(plugins)
}

/// A tool of GStreamer that finds the plug-in; `None` where it is not there.
fn tool(name: &str) -> Option<Command> {
    let plugins = plugin()?;
    if !Command::new(name).arg("--version").output().is_ok_and(|o| o.status.success()) {
        skip("GStreamer", &format!("there is no {name}"));
        return None;
    }
    let mut command = Command::new(name);
    command.env("GST_PLUGIN_PATH", plugins).env("GST_REGISTRY", scratch("registry").join(format!("{name}.bin")));
    Some(command)
}

#[test]
fn element() {
    let folder = scratch("element");
    let (Some(plugins), Some(arguments)) = (plugin(), arguments(&["gstreamer-app-1.0", "gstreamer-video-1.0"])) else {
        return;
    };
    let Some(program) = compile_with("tests/c/gstreamer.c", Link::Shared, &folder, &arguments) else { return };
    let e = expected();
    let mut command = Command::new(&program);
    command.args([&e.model, &format!("{:08x}", e.rgb), &format!("{:08x}", e.grey)]);
    // What GLib calls critical, a mistake in the element, ends the program.
    command
        .env("GST_PLUGIN_PATH", plugins)
        .env("GST_REGISTRY", folder.join("registry.bin"))
        .env("G_DEBUG", "fatal-criticals");
    assert!(run_command(&mut command).contains("gstreamer holds"));
}

/// A PNG file that GStreamer writes, read by the command line and by a pipeline of gst-launch.
#[test]
fn one_picture_has_one_score_on_the_command_line_and_in_a_pipeline() {
    let folder = scratch("one-score");
    let Some(mut launch) = tool("gst-launch-1.0") else { return };
    let e = expected();
    let (raw, png) = (folder.join("part.rgb"), folder.join("part-00.png"));
    fs::write(&raw, pixels(3)).unwrap();
    let location = |path: &Path| format!("location={}", path.display());
    launch.args(["-q", "filesrc", &location(&raw), "blocksize=7920", "!", "rawvideoparse", "width=60", "height=44"]);
    launch.args(["format=rgb", "!", "pngenc", "!", "filesink", &location(&png)]);
    run_command(&mut launch);

    let printed = run_command(Command::new(command_line()).args(["inspect", &e.model]).arg(&png).arg("--json"));
    let on_the_command_line: f32 = between(&printed, "\"score\":", ",").parse().unwrap();
    assert_eq!(on_the_command_line.to_bits(), e.rgb, "{printed}");

    let model = format!("model={}", e.model);
    let pattern = location(&folder.join("part-%02d.png"));
    for overlay in ["overlay=false", "overlay=true"] {
        let mut launch = tool("gst-launch-1.0").unwrap();
        launch.args(["-m", "multifilesrc", &pattern, "stop-index=0", "!", "pngdec", "!", "adflow", &model, overlay]);
        let printed = run_command(launch.args(["!", "fakesink"]));
        let in_the_pipeline: f64 = between(&printed, "score=(double)", ",").parse().unwrap();
        assert_eq!(in_the_pipeline, f64::from(on_the_command_line), "{printed}");
    }
}

fn between<'a>(text: &'a str, before: &str, after: &str) -> &'a str {
    let rest = text.split(before).nth(1).unwrap_or_else(|| panic!("no {before:?} in {text}"));
    rest.split(after).next().unwrap().trim()
}

/// What gst-inspect says of the element is what the documentation says.
#[test]
fn documented_properties() {
    let Some(mut inspect) = tool("gst-inspect-1.0") else { return };
    let printed = run_command(inspect.arg("adflow"));
    let text = fs::read_to_string(repository().join("docs/integrations.md")).unwrap();
    for property in ["model", "device", "threads", "threshold", "overlay", "post-messages"] {
        assert!(printed.contains(&format!("  {property} ")), "{property}: {printed}");
        assert!(text.contains(&format!("| `{property}` |")), "{property} is not in docs/integrations.md");
    }
    for format in ["GRAY8", "GRAY16_LE", "RGB", "BGR", "RGBx", "BGRx", "RGBA", "BGRA"] {
        assert!(printed.contains(&format!("(string){format}")), "{format}: {printed}");
    }
}
