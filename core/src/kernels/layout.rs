//! Moves of whole channels: slice, concatenation, permutation. Nothing is computed, so results are exact.

use crate::cpu::Cpu;

/// `y = x[offset ..][.. len]` of each sample. x `[n, x_len]`, y `[n, len]`; lengths count elements per sample.
pub fn slice(cpu: Cpu<'_>, n: usize, x_len: usize, offset: usize, len: usize, x: &[f32], y: &mut [f32]) {
    assert!(offset + len <= x_len, "the slice lies in the sample");
    assert_eq!((x.len(), y.len()), (n * x_len, n * len), "lengths of x and y");
    if y.is_empty() {
        return;
    }
    cpu.threads().chunks_mut(y, len, &|sample, _, y| y.copy_from_slice(&x[sample * x_len + offset..][..len]));
}

/// Gradient of [`slice()`]: gy at its place, 0 elsewhere. gx `[n, x_len]`, gy `[n, len]`.
pub fn slice_dx(cpu: Cpu<'_>, n: usize, x_len: usize, offset: usize, len: usize, gy: &[f32], gx: &mut [f32]) {
    assert!(offset + len <= x_len, "the slice lies in the sample");
    assert_eq!((gx.len(), gy.len()), (n * x_len, n * len), "lengths of gx and gy");
    if gx.is_empty() {
        return;
    }
    cpu.threads().chunks_mut(gx, x_len, &|sample, _, gx| {
        gx[..offset].fill(0.0);
        gx[offset..][..len].copy_from_slice(&gy[sample * len..][..len]);
        gx[offset + len..].fill(0.0);
    });
}

/// Parts side by side in each sample: part k is `[n, len_k]`, y is `[n, Σ len_k]`.
pub fn concat(cpu: Cpu<'_>, n: usize, parts: &[&[f32]], y: &mut [f32]) {
    assert!(parts.iter().all(|p| p.is_empty() || (n > 0 && p.len() % n == 0)), "parts are whole samples");
    assert_eq!(y.len(), parts.iter().map(|p| p.len()).sum::<usize>(), "length of y");
    if y.is_empty() {
        return;
    }
    let y_len = y.len() / n;
    cpu.threads().chunks_mut(y, y_len, &|sample, _, y| {
        let mut rest = y;
        for part in parts {
            let len = part.len() / n;
            let (y, next) = rest.split_at_mut(len);
            y.copy_from_slice(&part[sample * len..][..len]);
            rest = next;
        }
    });
}

/// Channel that entry `k` of an index names. Indices travel in parameters as the bits of an f32; one out of range is clamped.
fn channel(idx: &[f32], k: usize) -> usize {
    (idx[k].to_bits() as usize).min(idx.len() - 1)
}

/// `y_c = x_{idx_c}`. x, y `[n, c, hw]`; idx holds c numbers below c as u32 bits.
pub fn permute(cpu: Cpu<'_>, n: usize, c: usize, hw: usize, idx: &[f32], x: &[f32], y: &mut [f32]) {
    assert_eq!(idx.len(), c, "length of the index");
    assert_eq!((x.len(), y.len()), (n * c * hw, n * c * hw), "lengths of x and y");
    if y.is_empty() {
        return;
    }
    cpu.threads().chunks_mut(y, c * hw, &|sample, _, y| {
        let x = &x[sample * c * hw..][..c * hw];
        if hw == 1 {
            y.iter_mut().enumerate().for_each(|(k, y)| *y = x[channel(idx, k)]);
        } else {
            for (k, y) in y.chunks_exact_mut(hw).enumerate() {
                y.copy_from_slice(&x[channel(idx, k) * hw..][..hw]);
            }
        }
    });
}

/// `y_{idx_c} = x_c`, the inverse and the gradient of [`permute`]; channels that a broken index never names become 0.
pub fn permute_inverse(cpu: Cpu<'_>, n: usize, c: usize, hw: usize, idx: &[f32], x: &[f32], y: &mut [f32]) {
    assert_eq!(idx.len(), c, "length of the index");
    assert_eq!((x.len(), y.len()), (n * c * hw, n * c * hw), "lengths of x and y");
    if y.is_empty() {
        return;
    }
    cpu.threads().chunks_mut(y, c * hw, &|sample, _, y| {
        let x = &x[sample * c * hw..][..c * hw];
        y.fill(0.0);
        if hw == 1 {
            x.iter().enumerate().for_each(|(k, &x)| y[channel(idx, k)] = x);
        } else {
            for (k, x) in x.chunks_exact(hw).enumerate() {
                y[channel(idx, k) * hw..][..hw].copy_from_slice(x);
            }
        }
    });
}

/// `y[n] = x` for each sample n. x `[len]`, y `[n, len]`.
pub fn repeat(cpu: Cpu<'_>, x: &[f32], y: &mut [f32]) {
    if y.is_empty() {
        return;
    }
    assert_eq!(y.len() % x.len(), 0, "length of y");
    cpu.threads().chunks_mut(y, x.len(), &|_, _, y| y.copy_from_slice(x));
}

#[cfg(all(test, feature = "std"))]
mod tests {
    use super::super::check::{each_cpu, numbers};
    use super::*;
    use std::vec;
    use std::vec::Vec;

    #[test]
    fn slice_and_its_gradient() {
        let (n, x_len, offset, len) = (3, 20, 5, 7);
        let x = numbers(1, n * x_len);
        each_cpu(
            |cpu| {
                let (mut y, mut gx) = (vec![f32::NAN; n * len], vec![f32::NAN; n * x_len]);
                slice(cpu, n, x_len, offset, len, &x, &mut y);
                slice_dx(cpu, n, x_len, offset, len, &y, &mut gx);
                gx
            },
            |gx| {
                for (k, (gx, x)) in gx.iter().zip(&x).enumerate() {
                    let inside = (offset..offset + len).contains(&(k % x_len));
                    assert_eq!(*gx, if inside { *x } else { 0.0 });
                }
            },
        );
    }

    #[test]
    fn concat_undoes_slices() {
        let (n, lens) = (3, [4usize, 0, 1, 9]);
        let total: usize = lens.iter().sum();
        let x = numbers(1, n * total);
        each_cpu(
            |cpu| {
                let mut offset = 0;
                let parts: Vec<Vec<f32>> = lens
                    .iter()
                    .map(|&len| {
                        let mut y = vec![f32::NAN; n * len];
                        slice(cpu, n, total, offset, len, &x, &mut y);
                        offset += len;
                        y
                    })
                    .collect();
                let mut y = vec![f32::NAN; n * total];
                concat(cpu, n, &parts.iter().map(|p| &p[..]).collect::<Vec<_>>(), &mut y);
                y
            },
            |y| assert_eq!(y, x),
        );
    }

    #[test]
    fn permutations_and_their_inverses() {
        for (c, hw) in [(1, 1), (7, 1), (16, 3), (65, 1), (9, 17)] {
            let n = 3;
            let x = numbers(1, n * c * hw);
            let step = [1, 2, 3, 5].into_iter().rev().find(|s| c % s != 0 || c == 1).unwrap_or(1);
            let idx: Vec<f32> = (0..c).map(|k| f32::from_bits(((k * step + 3) % c) as u32)).collect();
            each_cpu(
                |cpu| {
                    let (mut y, mut back) = (vec![f32::NAN; x.len()], vec![f32::NAN; x.len()]);
                    permute(cpu, n, c, hw, &idx, &x, &mut y);
                    for k in 0..x.len() {
                        let (sample, channel, p) = (k / (c * hw), k / hw % c, k % hw);
                        assert_eq!(y[k], x[(sample * c + (channel * step + 3) % c) * hw + p]);
                    }
                    permute_inverse(cpu, n, c, hw, &idx, &y, &mut back);
                    back
                },
                |back| assert_eq!(back, x),
            );
        }
    }

    #[test]
    fn a_broken_index_is_clamped() {
        let idx = [f32::NAN, f32::from_bits(u32::MAX), f32::from_bits(1)];
        each_cpu(
            |cpu| {
                let mut y = vec![f32::NAN; 3];
                permute(cpu, 1, 3, 1, &idx, &[1.0, 2.0, 3.0], &mut y);
                assert_eq!(y, [3.0, 3.0, 2.0]);
                permute_inverse(cpu, 1, 3, 1, &idx, &[1.0, 2.0, 3.0], &mut y);
                y
            },
            |y| assert_eq!(y, [0.0, 3.0, 2.0]),
        );
    }
}
