//! Nearest neighbours: banks on both sides of blocks of 256, maps on both sides of blocks of 512, every radius.

use super::{Case, Fill, batched, single};
use adflow::op::{EVERYWHERE, Nearest, NearestDx};
use adflow::shape::Shape;

pub fn cases() -> Vec<Case> {
    let mut out = Vec::new();
    let sizes = [
        (1, 1, 1, 1),
        (3, 1, 7, 2),
        (8, 3, 3, 7),
        (17, 2, 4, 64),
        (5, 4, 4, 255),
        (9, 3, 5, 257),
        (2, 3, 3, 700),
        (4, 23, 23, 40),
    ];
    for (channels, h, w, count) in sizes {
        let x = || batched(Shape::chw(channels, h, w));
        let bank = || single(Shape([count, channels, 1, 1]));
        let g = || batched(Shape::chw(1, h, w));
        for root in [false, true] {
            let radius = EVERYWHERE;
            out.push(Case::new(Nearest { radius, root }, [x(), bank()]));
            out.push(Case::new(NearestDx { radius, root }, [g(), x(), bank()]));
        }
        // Several vectors in some cells, none in others.
        let cell = |m: u32| f32::from_bits((u64::from(m) * u64::from(h * w) / u64::from(count)) as u32 / 2 * 2);
        let cells = || single(Shape::vector(count)).fill(Fill::Exactly((0..count).map(cell).collect()));
        for radius in [0, 1, 2, 1000] {
            let root = radius == 1;
            out.push(Case::new(Nearest { radius, root }, [x(), bank(), cells()]));
            out.push(Case::new(NearestDx { radius, root }, [g(), x(), bank(), cells()]));
        }
    }
    out
}
