//! `adflow diff MODEL IMAGE`: two devices in lock-step, op by op.
//!
//! Every program of the model runs: those that look at an image see this one, the others numbers as wide as features. After
//! each op the left side's values replace the right side's, so the first op named is the one to look at. Exit code 1 if
//! they disagree.

use adflow::executor::Device;
use adflow::lockstep::lockstep;
use adflow::plan::{BLOCK, Region};
use adflow::rng::Rng;
use adflow_vulkan::Precision;

use crate::args::Diff;
use crate::compute::Compute;
use crate::decode;
use crate::failure::{Context, ERROR, Failure, Outcome};
use crate::inspector::open_model;

/// Runs the command.
pub fn run(args: &Diff) -> Outcome<u8> {
    let owned = open_model(&args.model)?;
    let image = decode::open(&args.image)?;
    let open = |device: &adflow_vulkan::Compute| -> Outcome<Compute> {
        let gpu = device.open(Precision::Full).map_err(|error| Failure::new(error.to_string()))?;
        Ok(Compute { threads: 1, gpu })
    };
    let (lhs, rhs) = (open(&args.lhs)?, open(&args.rhs)?);
    let how = owned.model().preprocess();
    let mut pixels = vec![0.0; how.output_len()];
    let view = image.view().map_err(|e| Failure::new(e.to_string()))?;
    let mut scratch = vec![0.0; how.scratch_len(view.width(), view.height())];
    how.apply(&view, &mut scratch, &mut pixels).context(args.image.display())?;
    println!("{} and {}", lhs.describe(), rhs.describe());
    lhs.with_device(|lhs| rhs.with_device(|rhs| compare(&owned, &pixels, lhs, rhs)))
}

fn compare(owned: &adflow::model::OwnedModel, pixels: &[f32], lhs: &dyn Device, rhs: &dyn Device) -> Outcome<u8> {
    let mut disagree = false;
    for program in owned.model().programs() {
        let floats = |region| program.blocks(region) as usize * BLOCK;
        let (grads, state) = (floats(Region::Grads), floats(Region::State));
        let params = owned.model().params();
        let mut left = lhs.executor(params, grads, state).map_err(|e| Failure::new(e.to_string()))?;
        let mut right = rhs.executor(params, grads, state).map_err(|e| Failure::new(e.to_string()))?;
        let mut fill = |name: &str, values: &mut [f32]| match name {
            "image" => values.copy_from_slice(pixels),
            // Learning rate and step.
            "control" => values.copy_from_slice(&[2e-4, 1.0]),
            _ => {
                let mut rng = Rng::new(1, 0, 0);
                values.iter_mut().for_each(|v| *v = rng.range(-0.03..0.03));
            }
        };
        let result = lockstep(program, 1, params, &mut fill, &mut *left, &mut *right);
        match result.map_err(|e| Failure::new(e.to_string()))? {
            None => println!("{:<10} {:>5} ops agree", program.name(), program.len()),
            Some(mismatch) => {
                disagree = true;
                println!("{:<10} {mismatch}", program.name());
            }
        }
    }
    Ok(if disagree { ERROR } else { 0 })
}
