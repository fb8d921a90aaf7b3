//! A threshold in words: the score, and the false-reject rate it guarantees.

use adflow::threshold::Threshold;

use crate::progress;

/// Describes a threshold in one line.
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
