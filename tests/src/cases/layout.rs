//! Concatenation, ranges, permutations.

use super::{Case, Fill, SIZES, batched, single};
use adflow::op::{Concat, Embed, Permute, Repeat, Slice};
use adflow::shape::Shape;

pub fn cases() -> Vec<Case> {
    let mut out = Vec::new();
    let chw = |c| batched(Shape::chw(c, 3, 5));
    out.push(Case::new(Concat {}, [chw(4)]));
    out.push(Case::new(Concat {}, [chw(1), chw(7)]));
    out.push(Case::new(Concat {}, [chw(3), chw(1), chw(2), chw(9), chw(1), chw(5)]));
    out.push(Case::slots(Concat {}, [Some(chw(3)), None, Some(chw(2)), None, None, Some(chw(1))]));
    out.push(Case::new(
        Concat {},
        [batched(Shape::vector(96)), batched(Shape::vector(160)), batched(Shape::vector(1))],
    ));
    for n in SIZES {
        out.push(Case::new(Repeat {}, [single(Shape::chw(n, 3, 2))]));
        for (first, count) in [(0, n), (1, n), (5, n)] {
            let total = first + count + 2;
            out.push(Case::new(Slice { first, count }, [batched(Shape::vector(total))]));
            out.push(Case::new(Embed { first, count: total }, [batched(Shape::vector(count))]));
            out.push(Case::new(Slice { first, count }, [batched(Shape::chw(total, 2, 3))]));
            out.push(Case::new(Embed { first, count: total }, [batched(Shape::chw(count, 2, 3))]));
        }
        for shape in [Shape::vector(n), Shape::chw(n, 3, 3), Shape::chw(n, 1, 17)] {
            for inverse in [false, true] {
                let index = single(Shape::vector(n)).fill(Fill::Permutation);
                out.push(Case::new(Permute { inverse }, [batched(shape), index]));
            }
        }
    }
    out
}
