//! GPUs from the command line: listing, choosing, comparing; what is said where there is none.

use std::fs;

use crate::common::{Fixture, QUICK, adflow, arg, command, finished};
use serde_json::Value;

/// Number of devices; where there are none the tests that need one say so.
fn devices() -> usize {
    let listed: Value = serde_json::from_str(&adflow(["devices", "--json"]).ok().stdout).expect("JSON");
    let found = listed["devices"].as_array().expect("a list").len();
    if found == 0 {
        eprintln!("skipped: Vulkan ({})", listed["note"]);
        assert!(std::env::var_os("ADFLOW_REQUIRE_VULKAN").is_none(), "a device is required");
    }
    found
}

#[test]
fn devices_are_listed_and_others_are_refused() {
    let found = devices();
    let shown = adflow(["devices"]).ok().stdout;
    assert_eq!(shown.matches("uuid").count(), found, "{shown}");
    let (fixture, dir) = (Fixture::get(), tempfile::tempdir().unwrap());
    let (data, model) = (fixture.data(), dir.path().join("m.adflow"));
    for (device, code, words) in [
        ("cuda", 2, &["cuda"][..]),
        ("vulkan:", 2, &["vulkan:"]),
        ("vulkan:9999", 1, &["Vulkan"]),
        ("vulkan:no such card", 1, &["Vulkan"]),
    ] {
        let train = ["train", arg(data), "-o", arg(&model), "--device", device];
        adflow([&train[..], &QUICK].concat()).fails_with(code, words);
        assert!(!model.exists());
    }
}

#[test]
fn a_loader_that_is_missing_is_no_error_unless_asked_for() {
    let (fixture, dir) = (Fixture::get(), tempfile::tempdir().unwrap());
    let (data, model) = (fixture.data(), dir.path().join("m.adflow"));
    // The loader finds no driver.
    let run = |device: &str| {
        let mut command = command([&["train", arg(data), "-o", arg(&model), "--device", device][..], &QUICK].concat());
        command.env("VK_DRIVER_FILES", "/nonexistent.json").env("VK_ICD_FILENAMES", "/nonexistent.json");
        finished(command.output().unwrap())
    };
    run("vulkan").fails_with(1, &["no Vulkan"]);
    run("auto").ok();
    assert!(model.exists());
}

#[test]
fn a_model_trains_scores_and_agrees_on_vulkan() {
    if devices() == 0 {
        return;
    }
    let (fixture, dir) = (Fixture::get(), tempfile::tempdir().unwrap());
    let (data, model) = (fixture.data(), dir.path().join("m.adflow"));
    adflow([&["train", arg(data), "-o", arg(&model), "--device", "vulkan"][..], &QUICK].concat()).ok();
    let image = fs::read_dir(data.join("train/good")).unwrap().next().unwrap().unwrap().path();
    let score = |device: &str| {
        let run = adflow(["inspect", arg(&model), arg(&image), "--json", "--device", device]).ok();
        serde_json::from_str::<Value>(&run.stdout).expect("JSON")["score"].as_f64().expect("a score")
    };
    let listed: Value = serde_json::from_str(&adflow(["devices", "--json"]).ok().stdout).expect("JSON");
    let first = &listed["devices"][0];
    let (uuid, name) = (first["uuid"].as_str().expect("a UUID"), first["name"].as_str().expect("a name"));
    let (cpu, vulkan) = (score("cpu"), score("vulkan:0"));
    for same in [format!("vulkan:{uuid}"), format!("vulkan:{}", &name[..4])] {
        assert!(score(&same) == vulkan, "{same} is vulkan:0");
    }
    assert!((cpu - vulkan).abs() <= 1e-4 * cpu.abs(), "{cpu} and {vulkan}");
    let said = adflow(["diff", arg(&model), arg(&image)]).ok().stdout;
    assert!(said.contains("score") && said.contains("ops agree"), "{said}");
    let bench = ["bench", arg(&model), "--device", "vulkan", "--seconds", "0.05", "--profile", "--json"];
    let bench: Value = serde_json::from_str(&adflow(bench).ok().stdout).expect("JSON");
    assert!(bench["ops"].as_array().is_some_and(|ops| ops.iter().any(|op| op["op"] == "conv2d")), "{bench}");
    adflow(["bench", arg(&model), "--device", "cpu", "--profile"]).fails_with(1, &["--device vulkan"]);
}
