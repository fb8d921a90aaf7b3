//! The HALCON extension package against a stand-in for HALCON, which is not available here: its scores and anomaly images are
//! those of the C ABI, domains are regions, errors have texts, and any number of threads may use a handle.

use adflow_tests::programs::{Link, compile_with, expected, repository, run, scratch};

#[test]
fn package_against_the_stand_in() {
    let folder = scratch("package");
    let file = |path: &str| repository().join(path).to_str().unwrap().to_string();
    let stand_in = file("tests/c/halcon");
    let package = ["-shared", "-fPIC", "-fvisibility=hidden", "-I", &stand_in].map(String::from);
    let Some(package) = compile_with("examples/halcon/adflow_halcon.cpp", Link::Shared, &folder, &package) else {
        return;
    };
    // The package finds the interface in the program that loads it, as it does in HALCON.
    let program = ["-rdynamic", &file("tests/c/halcon/double.cpp")].map(String::from);
    let Some(program) = compile_with("tests/c/halcon/halcon.cpp", Link::Shared, &folder, &program) else { return };
    let e = expected();
    let (rgb, grey) = (format!("{:08x}", e.rgb), format!("{:08x}", e.grey));
    let def = file("examples/halcon/adflow.def");
    let (package, folder) = (package.to_str().unwrap(), folder.to_str().unwrap());
    let printed = run(&program, &[&def, package, &e.model, &rgb, &grey, folder]);
    assert!(printed.contains("halcon holds"), "{printed}");
}
