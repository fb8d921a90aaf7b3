//! Which vectors stand for all: greedy k-centre.
//!
//! Starting with one vector, the one that is farthest from all chosen ones is added, again and again: the largest distance of any
//! vector to its nearest chosen one, the radius of the cover, is at most twice that of the best choice (Gonzalez 1985). PatchCore
//! keeps its memory small so (Roth et al. 2022, algorithm 1).

use alloc::vec;
use alloc::vec::Vec;

/// Squared distance, summed in eight parts so that they can be added side by side.
fn square_distance(a: &[f32], b: &[f32]) -> f32 {
    let mut parts = [0.0f32; 8];
    let (mut x, mut y) = (a.chunks_exact(8), b.chunks_exact(8));
    for (x, y) in (&mut x).zip(&mut y) {
        for (part, (x, y)) in parts.iter_mut().zip(x.iter().zip(y)) {
            *part += (x - y) * (x - y);
        }
    }
    let rest: f32 = x.remainder().iter().zip(y.remainder()).map(|(x, y)| (x - y) * (x - y)).sum();
    parts.iter().sum::<f32>() + rest
}

/// Chooses at most `count` of the vectors, whose length is `len`, beginning with number `first`; fewer where all others are
/// like a chosen one. In the order chosen.
pub fn k_centre(vectors: &[f32], len: usize, count: usize, first: usize) -> Vec<usize> {
    let all = vectors.len() / len.max(1);
    let row = |i: usize| &vectors[i * len..][..len];
    let mut nearest = vec![f32::INFINITY; all];
    let mut chosen = Vec::new();
    let mut next = first;
    while chosen.len() < count.min(all) {
        chosen.push(next);
        let newest = row(next);
        let mut farthest = (0.0, next);
        for (i, nearest) in nearest.iter_mut().enumerate() {
            *nearest = nearest.min(square_distance(row(i), newest));
            if *nearest > farthest.0 {
                farthest = (*nearest, i);
            }
        }
        if farthest.0 == 0.0 {
            break;
        }
        next = farthest.1;
    }
    chosen
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rng::Rng;

    #[test]
    fn the_radius_of_the_cover_falls_and_nothing_is_chosen_twice() {
        let mut rng = Rng::new(3, 0, 0);
        let vectors: Vec<f32> = (0..200 * 11).map(|_| rng.range(-1.0..1.0)).collect();
        let chosen = k_centre(&vectors, 11, 60, 5);
        assert!(chosen.len() == 60 && chosen[0] == 5);
        let radius = |chosen: &[usize]| {
            let to = |i: usize, m: &usize| square_distance(&vectors[i * 11..][..11], &vectors[m * 11..][..11]);
            (0..200).map(|i| chosen.iter().map(|m| to(i, m)).fold(f32::INFINITY, f32::min)).fold(0.0, f32::max)
        };
        for n in 2..60 {
            assert!(radius(&chosen[..n]) <= radius(&chosen[..n - 1]), "{n}");
            assert!(!chosen[..n - 1].contains(&chosen[n - 1]));
        }
        assert_eq!(radius(&k_centre(&vectors, 11, 1000, 0)), 0.0);
        assert_eq!(k_centre(&[2.0, 2.0, 2.0, 7.0], 1, 4, 0), [0, 3], "what is alike is chosen once");
    }
}
