//! Compiles `vulkan/shaders/*.comp` to `vulkan/spirv/*.spv`, or with `--check` says which of them are not current.
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

fn compile(compiler: &Compiler, folder: &Path, path: &Path) -> Result<Vec<u8>, Box<dyn Error>> {
    let source = ShaderSource::from(fs::read_to_string(path)?);
    let options = CompilerOptions {
        target: Target::Vulkan { version: VulkanVersion::Vulkan1_1, spirv_version: SpirvVersion::SPIRV1_3 },
        ..CompilerOptions::default()
    };
    let mut include = Folder(folder);
    let defines: Option<&[(&str, Option<&str>)]> = None;
    let explain = |e: GlslangError| format!("{}: {e}", path.display());
    let input =
        ShaderInput::new(&source, ShaderStage::Compute, &options, defines, Some(&mut include)).map_err(explain)?;
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
        let output = outputs.join(path.with_extension("spv").file_name().ok_or("a shader without a name")?);
        let spirv = compile(compiler, &sources, &path)?;
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
