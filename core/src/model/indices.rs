//! Tables of numbers that ops read as indices, checked once: the kernels are safe with any, but only these mean something.

use crate::op::{EVERYWHERE, Op};
use crate::plan::{BLOCK, Program, Region};
use crate::shape::Shape;

/// Checks every index that the ops of a program read from `params`: permutations are permutations, cells ascend within the map.
pub(super) fn check(program: &Program<'_>, params: &[f32]) -> Result<(), &'static str> {
    for at in 0..program.len() {
        let planned = program.op(at);
        let index = |slot: usize| {
            let t = &program.tensors[planned.record.inputs[slot] as usize];
            let is_param = t.region == Region::Params as u32;
            let values = is_param.then(|| &params[t.offset as usize * BLOCK..][..Shape(t.dims).len()]);
            values.ok_or("an index must be a parameter")
        };
        let positions = |slot: usize| planned.types[slot].map_or(0, |t| t.shape.positions());
        match planned.op {
            Op::Permute(_) => permutation(index(1)?)?,
            Op::Nearest(op) if op.radius != EVERYWHERE => cells(index(2)?, positions(0))?,
            Op::NearestDx(op) if op.radius != EVERYWHERE => cells(index(3)?, positions(1))?,
            _ => {}
        }
    }
    Ok(())
}

/// In range, and the sums of the first two powers are a permutation's: cheap, and enough to find damage.
fn permutation(index: &[f32]) -> Result<(), &'static str> {
    let n = index.len() as u128;
    let (mut sum, mut squares) = (0u128, 0u128);
    for bits in index {
        let k = u128::from(bits.to_bits());
        if k >= n {
            return Err("an index of a permutation is out of range");
        }
        sum += k;
        squares += k * k;
    }
    if sum != n * (n - 1) / 2 || squares != (n - 1) * n * (2 * n - 1) / 6 {
        return Err("an index is not a permutation");
    }
    Ok(())
}

/// Cells of a bank: positions of the map, ascending, so that those of a row are found by bisection.
fn cells(cells: &[f32], positions: usize) -> Result<(), &'static str> {
    if !cells.is_sorted_by_key(|cell| cell.to_bits()) {
        return Err("the cells of a bank do not ascend");
    }
    if cells.last().is_some_and(|cell| cell.to_bits() as usize >= positions) {
        return Err("a cell of a bank is outside the map");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cells_ascend_within_the_map() {
        fn of<const N: usize>(numbers: [u32; N]) -> Result<(), &'static str> {
            cells(&numbers.map(f32::from_bits), 9)
        }
        assert_eq!(of([0, 0, 3, 8]), Ok(()));
        assert!(of([0, 3, 2]).is_err() && of([0, 9]).is_err() && of([u32::MAX]).is_err());
        // Infinities and numbers that are none.
        assert!(of([0xFF80_0000, 0x7FC0_0000]).is_err() && of([0x7FC0_0000, 0xFF80_0000]).is_err());
    }
}
