//! `adflow threshold MODEL`: moves the limit between good and defective without training again.
//!
//! The model keeps the scores of the good parts that were held out from training, so that another false-reject rate is
//! a matter of reading another order statistic.

use adflow::model::OwnedModel;
use adflow::threshold::Threshold;

use crate::args::SetThreshold;
use crate::failure::{Context, Failure, Outcome};
use crate::inspector::open_model;
use crate::{output, progress};

/// Runs the command.
pub fn run(args: &SetThreshold) -> Outcome<u8> {
    let owned = open_model(&args.model)?;
    let changed = choose(args, &owned)?;
    let Some(threshold) = changed else {
        println!("threshold  {}", describe(owned.model().threshold()));
        return Ok(0);
    };
    let out = args.out.as_ref().unwrap_or(&args.model);
    let changed = owned.with_threshold(Some(&threshold)).context(args.model.display())?;
    output::write(out, changed.bytes())?;
    println!("threshold  {}", describe(Some(threshold)));
    println!("written    {}", out.display());
    Ok(0)
}

/// The threshold asked for; `None` when nothing was.
fn choose(args: &SetThreshold, owned: &OwnedModel) -> Outcome<Option<Threshold>> {
    let model = owned.model();
    let held_out = model.held_out_scores();
    let too_few = || {
        Failure::new(format!(
            "{} has no scores of held-out good parts to choose from; give --set X, or train with --held-out",
            args.model.display()
        ))
    };
    let base = match (args.set, args.false_reject, args.grey_zone) {
        (Some(x), _, _) => Threshold::manual(x),
        (None, Some(rate), _) => Threshold::from_held_out(held_out, rate, args.confidence).ok_or_else(too_few)?,
        (None, None, Some(_)) => model.threshold().ok_or_else(too_few)?,
        (None, None, None) => return Ok(None),
    };
    match args.grey_zone {
        Some(rate) => base.with_grey_zone(held_out, rate).ok_or_else(too_few).map(Some),
        None => Ok(Some(base)),
    }
}

/// One line for a person: the limit, and what it promises.
pub fn describe(threshold: Option<Threshold>) -> String {
    let Some(t) = threshold else {
        return "none: scores without verdicts (no good parts were held out)".into();
    };
    let mut text = progress::short(t.reject.into());
    if let Some(accept) = t.accept {
        text += &format!(", unsure above {}", progress::short(accept.into()));
    }
    if t.held_out == 0 {
        return text + ", set by hand";
    }
    text += &format!(
        ": rejects at most {} of good parts with {} confidence ({} held-out parts)",
        percent(t.false_reject),
        percent(t.confidence),
        t.held_out
    );
    if t.confidence < 0.9 {
        // 1 − (1 − r)ⁿ ≥ 0.95
        let needed = (0.05f64.ln() / (1.0 - t.false_reject).ln()).ceil();
        text += &format!("; 95 % would take {needed}");
    }
    text
}

fn percent(share: f64) -> String {
    let p = share * 100.0;
    if p >= 99.95 {
        ">99.9 %".into()
    } else if p >= 10.0 {
        format!("{p:.0} %")
    } else {
        format!("{} %", progress::short((p * 100.0).round() / 100.0).trim_end_matches('0').trim_end_matches('.'))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_promise_is_put_in_words() {
        let t = Threshold { reject: 3.25, accept: None, false_reject: 0.01, confidence: 0.114, held_out: 12 };
        assert_eq!(
            describe(Some(t)),
            "3.250: rejects at most 1 % of good parts with 11 % confidence (12 held-out parts); 95 % would take 299"
        );
        assert_eq!(describe(Some(Threshold::manual(2.0))), "2.000, set by hand");
    }
}
