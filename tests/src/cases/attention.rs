//! Self-attention over positions, and the loss per cell that goes with it.

use super::{Case, Fill, SIZES, batched, single};
use adflow::op::{Attention, AttentionDx, AttentionLse, CellHinge, CellHingeDn};
use adflow::shape::Shape;

fn attention(out: &mut Vec<Case>, heads: u32, depth: u32, h: u32, w: u32) {
    let map = |channels: u32| batched(Shape::chw(channels, h, w));
    let channels = heads * depth;
    // Scores of a few units.
    let qkv = || map(3 * channels).fill(Fill::Uniform(-1.5, 1.5));
    out.push(Case::new(Attention { heads }, [qkv()]));
    out.push(Case::new(AttentionLse { heads }, [qkv()]));
    let lse = map(heads).fill(Fill::Uniform(2.0, 4.0));
    out.push(Case::new(AttentionDx { heads }, [map(channels), qkv(), map(channels), lse]));
}

pub fn cases() -> Vec<Case> {
    let mut out = Vec::new();
    for n in SIZES {
        attention(&mut out, 1, 5, 1, n);
        attention(&mut out, 2, n.min(17), 3, 4);
    }
    attention(&mut out, 3, 8, 4, 4);
    attention(&mut out, 2, 32, 16, 16);
    attention(&mut out, 1, 4, 32, 32);
    for n in SIZES {
        let (cells, b) = (|| batched(Shape::chw(1, 3, n)), || single(Shape::SCALAR));
        // Normal, ignored and anomalous cells; no likelihood lies on the hinge.
        let weights = || cells().fill(Fill::Uniform(-1.0, 1.5));
        out.push(Case::new(CellHinge { margin: 0.25 }, [cells(), weights(), b()]));
        out.push(Case::new(CellHingeDn { margin: 0.25 }, [batched(Shape::SCALAR), cells(), weights(), b()]));
        let weights = || cells().fill(Fill::Levels(&[-1.0, 0.0, 0.5]));
        out.push(Case::new(CellHinge { margin: 1.0 }, [cells(), weights(), b()]));
        out.push(Case::new(CellHingeDn { margin: 1.0 }, [batched(Shape::SCALAR), cells(), weights(), b()]));
    }
    out
}
