//! `adflow threshold MODEL`: moves the limit between good and defective without training again.
//!
//! The model keeps the scores of the good parts that were held out from training, so that another false-reject rate is
//! a matter of reading another order statistic.

use adflow::calibration::Calibration;
use adflow::model::OwnedModel;
use adflow::threshold::Threshold;

use crate::args::SetThreshold;
use crate::failure::{Context, Failure, Outcome};
use crate::inspector::open_model;
use crate::{output, promise};

/// Runs the command.
pub fn run(args: &SetThreshold) -> Outcome<u8> {
    let owned = open_model(&args.model)?;
    let changed = choose(args, &owned)?;
    let Some(threshold) = changed else {
        println!("threshold  {}", promise::describe(owned.model().threshold()));
        return Ok(0);
    };
    let out = args.out.as_ref().unwrap_or(&args.model);
    let changed = owned.with_threshold(Some(&threshold)).context(args.model.display())?;
    output::write(out, changed.bytes())?;
    println!("threshold  {}", promise::describe(Some(threshold)));
    println!("written    {}", out.display());
    Ok(0)
}

/// The threshold that the options ask for; `None` if they ask for none.
fn choose(args: &SetThreshold, owned: &OwnedModel) -> Outcome<Option<Threshold>> {
    let model = owned.model();
    let good = Calibration::new(model.held_out_scores(), &[]);
    let too_few = || {
        Failure::new(format!(
            "{} has no scores of held-out good parts to compute a threshold from; use --set X, or train with --held-out",
            args.model.display()
        ))
    };
    let base = match (args.set, args.false_reject, args.grey_zone) {
        (Some(x), _, _) => Threshold::manual(x),
        (None, Some(rate), _) => good.and_then(|good| good.threshold(rate, args.confidence)).ok_or_else(too_few)?,
        (None, None, Some(_)) => model.threshold().ok_or_else(too_few)?,
        (None, None, None) => return Ok(None),
    };
    match args.grey_zone {
        Some(rate) => good.and_then(|good| good.with_grey_zone(base, rate)).ok_or_else(too_few).map(Some),
        None => Ok(Some(base)),
    }
}
