//! Compiles `vulkan/shaders/*.comp` to `vulkan/spirv/*.spv`, or with `--check` says which of them are not current.
//!
//! Each shader is compiled as it is, which every device runs, and as `NAME.fast.spv` for devices with 16-bit storage and
//! subgroup sums; matrix products that scoring needs also as `NAME.matrix.spv` for devices with cooperative matrices.
//!
//! Run it after a change of a shader: `cargo run --release --manifest-path vulkan/compiler/Cargo.toml`. The output is
//! the same on every machine, because the compiler is pinned.

use std::collections::BTreeSet;
use std::error::Error;
use std::path::{Path, PathBuf};
use std::{env, fs};

use glslang::error::GlslangError;
use glslang::include::{IncludeHandler, IncludeResult, IncludeType};
use glslang::{Compiler, CompilerOptions, ShaderInput, ShaderSource, ShaderStage, SpirvVersion, Target, VulkanVersion};

struct Folder<'f>(&'f Path);

impl IncludeHandler for Folder<'_> {
    fn include(&mut self, _: IncludeType, header: &str, _: &str, _: usize) -> Option<IncludeResult> {
        let data = fs::read_to_string(self.0.join(header)).ok()?;
        Some(IncludeResult { name: header.to_string(), data })
    }
}

/// Shaders with a variant for cooperative matrices.
const MATRIX: [&str; 2] = ["conv2d", "linear"];

/// A way to compile a shader: what stands before `.spv`, and what is defined.
struct Variant {
    suffix: &'static str,
    defines: &'static [(&'static str, Option<&'static str>)],
    target: (VulkanVersion, SpirvVersion),
}

const VARIANTS: [Variant; 3] = [
    Variant { suffix: "", defines: &[], target: (VulkanVersion::Vulkan1_1, SpirvVersion::SPIRV1_3) },
    Variant {
        suffix: ".fast",
        defines: &[("FAST", Some("1"))],
        target: (VulkanVersion::Vulkan1_1, SpirvVersion::SPIRV1_3),
    },
    Variant {
        suffix: ".matrix",
        defines: &[("FAST", Some("1")), ("MATRIX", Some("1"))],
        target: (VulkanVersion::Vulkan1_3, SpirvVersion::SPIRV1_6),
    },
];

fn compile(compiler: &Compiler, folder: &Path, path: &Path, variant: &Variant) -> Result<Vec<u8>, Box<dyn Error>> {
    let source = ShaderSource::from(fs::read_to_string(path)?);
    let options = CompilerOptions {
        target: Target::Vulkan { version: variant.target.0, spirv_version: variant.target.1 },
        ..CompilerOptions::default()
    };
    let mut include = Folder(folder);
    let explain = |e: GlslangError| format!("{}: {e}", path.display());
    let input = ShaderInput::new(&source, ShaderStage::Compute, &options, Some(variant.defines), Some(&mut include))
        .map_err(explain)?;
    let words = compiler.create_shader(input).and_then(|shader| shader.compile()).map_err(explain)?;
    Ok(words.into_iter().flat_map(u32::to_le_bytes).collect())
}

fn main() -> Result<(), Box<dyn Error>> {
    let check = match env::args().skip(1).collect::<Vec<_>>().as_slice() {
        [] => false,
        [flag] if flag == "--check" => true,
        _ => return Err("usage: adflow-shader-compiler [--check]".into()),
    };
    let vulkan = Path::new(env!("CARGO_MANIFEST_DIR")).parent().ok_or("no parent folder")?;
    let (sources, outputs) = (vulkan.join("shaders"), vulkan.join("spirv"));
    let compiler = Compiler::acquire().ok_or("the GLSL compiler does not start")?;
    let mut names = BTreeSet::new();
    let mut stale = Vec::new();
    let mut shaders: Vec<PathBuf> = fs::read_dir(&sources)?.map(|e| e.map(|e| e.path())).collect::<Result<_, _>>()?;
    shaders.retain(|p| p.extension().is_some_and(|e| e == "comp"));
    shaders.sort();
    for path in shaders {
        let name = path.file_stem().and_then(|n| n.to_str()).ok_or("a shader without a name")?;
        for variant in &VARIANTS {
            if variant.suffix == ".matrix" && !MATRIX.contains(&name) {
                continue;
            }
            let output = outputs.join(format!("{name}{}.spv", variant.suffix));
            let spirv = compile(compiler, &sources, &path, variant)?;
            names.insert(output.clone());
            if fs::read(&output).is_ok_and(|old| old == spirv) {
                continue;
            }
            stale.push(output.display().to_string());
            if !check {
                fs::create_dir_all(&outputs)?;
                fs::write(&output, spirv)?;
            }
        }
    }
    for entry in fs::read_dir(&outputs)? {
        let path = entry?.path();
        if !names.contains(&path) {
            stale.push(path.display().to_string());
            if !check {
                fs::remove_file(path)?;
            }
        }
    }
    if check && !stale.is_empty() {
        return Err(format!("not current: {}", stale.join(", ")).into());
    }
    println!("{} shaders, {} changed", names.len(), stale.len());
    Ok(())
}
