//! Writes ONNX nodes one after the other; every tensor has a known shape.
//!
//! A [`Tensor`] is a name and its extents. The same op on the same inputs is written once, so programs that begin alike (score
//! and localisation) share what they have in common. Constants with the same values are stored once.

use std::collections::{HashMap, HashSet};
use std::hash::{DefaultHasher, Hash, Hasher};

use super::matrix::Matrix;
use super::proto::{AttributeProto, GraphProto, NodeProto, TensorProto, element};

/// A value in the graph.
#[derive(Clone, Debug, PartialEq)]
pub struct Tensor {
    /// Its name.
    pub name: String,
    /// Its extents.
    pub dims: Vec<usize>,
}

impl Tensor {
    /// Number of elements.
    pub fn len(&self) -> usize {
        self.dims.iter().product()
    }
}

/// An integer attribute.
pub fn int(name: &str, i: usize) -> AttributeProto {
    AttributeProto { name: name.into(), i: i as i64, kind: 2, ..AttributeProto::default() }
}

/// An attribute of several integers.
pub fn ints(name: &str, values: &[usize]) -> AttributeProto {
    let ints = values.iter().map(|v| *v as i64).collect();
    AttributeProto { name: name.into(), ints, kind: 7, ..AttributeProto::default() }
}

/// A text attribute.
pub fn text(name: &str, s: &str) -> AttributeProto {
    AttributeProto { name: name.into(), s: s.as_bytes().to_vec(), kind: 3, ..AttributeProto::default() }
}

/// A graph being written.
#[derive(Debug, Default)]
pub struct GraphBuilder {
    graph: GraphProto,
    names: HashSet<String>,
    /// Nodes by what they compute, with the extents of their outputs.
    made: HashMap<String, Vec<Tensor>>,
    /// Constants by the hash of their type, extents and bytes.
    constants: HashMap<u64, Vec<usize>>,
    scope: String,
}

impl GraphBuilder {
    /// Nothing yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// What the next nodes are named after.
    pub fn scope(&mut self, scope: &str) {
        self.scope = scope.to_string();
    }

    /// A name that nothing has, and that from now on is taken.
    pub fn name(&mut self, wish: &str) -> String {
        let mut name = wish.to_string();
        let mut k = 1;
        while !self.names.insert(name.clone()) {
            k += 1;
            name = format!("{wish}_{k}");
        }
        name
    }

    /// The graph, and what it is called.
    pub fn finish(mut self, name: &str) -> GraphProto {
        self.graph.name = name.to_string();
        self.graph
    }

    /// Adds a node with several outputs of these extents.
    pub fn outputs(
        &mut self,
        op: &str,
        inputs: &[&Tensor],
        attributes: Vec<AttributeProto>,
        outputs: &[Vec<usize>],
    ) -> Vec<Tensor> {
        let input: Vec<String> = inputs.iter().map(|t| t.name.clone()).collect();
        let key = format!("{op} {input:?} {attributes:?} {}", outputs.len());
        if let Some(made) = self.made.get(&key) {
            return made.clone();
        }
        let wish = format!("{}/{op}", self.scope);
        let made: Vec<Tensor> =
            outputs.iter().map(|dims| Tensor { name: self.name(&wish), dims: dims.clone() }).collect();
        self.graph.node.push(NodeProto {
            input,
            output: made.iter().map(|t| t.name.clone()).collect(),
            name: made[0].name.clone(),
            op_type: op.to_string(),
            attribute: attributes,
            domain: String::new(),
        });
        self.made.insert(key, made.clone());
        made
    }

    /// Adds a node.
    pub fn node(
        &mut self,
        op: &str,
        inputs: &[&Tensor],
        attributes: Vec<AttributeProto>,
        dims: impl Into<Vec<usize>>,
    ) -> Tensor {
        self.outputs(op, inputs, attributes, &[dims.into()]).remove(0)
    }

    /// Adds a node that gives `x` this name, which must be free.
    pub fn output(&mut self, x: &Tensor, name: &str) -> Tensor {
        self.names.insert(name.to_string());
        self.graph.node.push(NodeProto {
            input: vec![x.name.clone()],
            output: vec![name.to_string()],
            name: format!("{name}/Identity"),
            op_type: "Identity".to_string(),
            ..NodeProto::default()
        });
        Tensor { name: name.to_string(), dims: x.dims.clone() }
    }

    fn store(&mut self, wish: &str, dims: &[usize], data_type: i32, raw: Vec<u8>) -> Tensor {
        let dims64: Vec<i64> = dims.iter().map(|d| *d as i64).collect();
        let mut hasher = DefaultHasher::new();
        (&dims64, data_type, &raw).hash(&mut hasher);
        let hash = hasher.finish();
        for &at in self.constants.get(&hash).into_iter().flatten() {
            let old = &self.graph.initializer[at];
            if old.dims == dims64 && old.data_type == data_type && old.raw_data == raw {
                return Tensor { name: old.name.clone(), dims: dims.to_vec() };
            }
        }
        let name = self.name(wish);
        self.constants.entry(hash).or_default().push(self.graph.initializer.len());
        let tensor =
            TensorProto { dims: dims64, data_type, name: name.clone(), raw_data: raw, ..TensorProto::default() };
        self.graph.initializer.push(tensor);
        Tensor { name, dims: dims.to_vec() }
    }

    /// Floats as a constant; `name` is a wish.
    pub fn floats(&mut self, name: &str, dims: &[usize], data: &[f32]) -> Tensor {
        assert_eq!(dims.iter().product::<usize>(), data.len(), "length of constant {name}");
        self.store(name, dims, element::FLOAT, data.iter().flat_map(|v| v.to_le_bytes()).collect())
    }

    /// Positions as a constant.
    pub fn indices(&mut self, data: &[usize]) -> Tensor {
        let raw = data.iter().flat_map(|v| (*v as i64).to_le_bytes()).collect();
        self.store("index", &[data.len()], element::INT64, raw)
    }

    /// Yes and no as a constant.
    pub fn flags(&mut self, dims: &[usize], data: &[bool]) -> Tensor {
        assert_eq!(dims.iter().product::<usize>(), data.len(), "length of a mask");
        self.store("mask", dims, element::BOOL, data.iter().map(|v| u8::from(*v)).collect())
    }

    /// A number.
    pub fn number(&mut self, value: f32) -> Tensor {
        self.floats("number", &[], &[value])
    }

    fn matrix(&mut self, m: &Matrix) -> Tensor {
        let data: Vec<f32> = m.values.iter().map(|v| *v as f32).collect();
        self.floats("matrix", &[m.rows, m.columns], &data)
    }

    /// An op on one tensor, element by element.
    pub fn map(&mut self, op: &str, x: &Tensor) -> Tensor {
        self.node(op, &[x], vec![], x.dims.clone())
    }

    /// An op on two tensors, element by element, with ONNX's broadcasting.
    pub fn zip(&mut self, op: &str, a: &Tensor, b: &Tensor) -> Tensor {
        let rank = a.dims.len().max(b.dims.len());
        let extent = |t: &Tensor, i: usize| if i + t.dims.len() < rank { 1 } else { t.dims[i + t.dims.len() - rank] };
        let dims: Vec<usize> = (0..rank).map(|i| extent(a, i).max(extent(b, i))).collect();
        self.node(op, &[a, b], vec![], dims)
    }

    /// The same with a number on the right.
    pub fn with(&mut self, op: &str, x: &Tensor, value: f32) -> Tensor {
        let value = self.number(value);
        self.zip(op, x, &value)
    }

    /// a where the mask holds, else a number.
    pub fn select(&mut self, mask: &Tensor, x: &Tensor, other: f32) -> Tensor {
        let other = self.number(other);
        self.node("Where", &[mask, x, &other], vec![], x.dims.clone())
    }

    /// Other extents for the same elements.
    pub fn reshape(&mut self, x: &Tensor, dims: &[usize]) -> Tensor {
        assert_eq!(x.len(), dims.iter().product::<usize>(), "reshape of {} {:?} to {dims:?}", x.name, x.dims);
        if x.dims == dims {
            return x.clone();
        }
        let shape = self.indices(dims);
        self.node("Reshape", &[x, &shape], vec![], dims)
    }

    /// Axes in another order.
    pub fn transpose(&mut self, x: &Tensor, perm: &[usize]) -> Tensor {
        let dims: Vec<usize> = perm.iter().map(|p| x.dims[*p]).collect();
        self.node("Transpose", &[x], vec![ints("perm", perm)], dims)
    }

    /// `from..to` of an axis.
    pub fn slice(&mut self, x: &Tensor, axis: usize, from: usize, to: usize) -> Tensor {
        if from == 0 && to == x.dims[axis] {
            return x.clone();
        }
        let mut dims = x.dims.clone();
        dims[axis] = to - from;
        let bounds = [from, to, axis].map(|v| self.indices(&[v]));
        self.node("Slice", &[x, &bounds[0], &bounds[1], &bounds[2]], vec![], dims)
    }

    /// One behind the other along an axis; empty ones are left out.
    pub fn concat(&mut self, parts: &[Tensor], axis: usize) -> Tensor {
        let parts: Vec<&Tensor> = parts.iter().filter(|t| t.dims[axis] > 0).collect();
        if let [one] = parts[..] {
            return one.clone();
        }
        let mut dims = parts[0].dims.clone();
        dims[axis] = parts.iter().map(|t| t.dims[axis]).sum();
        self.node("Concat", &parts, vec![int("axis", axis)], dims)
    }

    /// The elements of an axis at these positions.
    pub fn gather(&mut self, x: &Tensor, axis: usize, at: &[usize]) -> Tensor {
        let mut dims = x.dims.clone();
        dims[axis] = at.len();
        let at = self.indices(at);
        self.node("Gather", &[x, &at], vec![int("axis", axis)], dims)
    }

    /// Zeros before and behind along an axis.
    pub fn pad(&mut self, x: &Tensor, axis: usize, before: usize, after: usize) -> Tensor {
        if before == 0 && after == 0 {
            return x.clone();
        }
        let (rank, mut dims) = (x.dims.len(), x.dims.clone());
        let mut pads = vec![0; 2 * rank];
        (pads[axis], pads[rank + axis]) = (before, after);
        dims[axis] += before + after;
        let pads = self.indices(&pads);
        self.node("Pad", &[x, &pads], vec![text("mode", "constant")], dims)
    }

    /// Sum over axes, which stay with extent 1.
    pub fn sum(&mut self, x: &Tensor, axes: &[usize]) -> Tensor {
        let over = self.indices(axes);
        self.node("ReduceSum", &[x, &over], vec![int("keepdims", 1)], kept(x, axes))
    }

    /// Mean over axes, which stay with extent 1.
    pub fn mean(&mut self, x: &Tensor, axes: &[usize]) -> Tensor {
        self.node("ReduceMean", &[x], vec![ints("axes", axes), int("keepdims", 1)], kept(x, axes))
    }

    /// The largest over axes, which stay with extent 1.
    pub fn largest(&mut self, x: &Tensor, axes: &[usize]) -> Tensor {
        self.node("ReduceMax", &[x], vec![ints("axes", axes), int("keepdims", 1)], kept(x, axes))
    }

    /// Matrix product of the last two axes.
    pub fn matmul(&mut self, a: &Tensor, b: &Tensor) -> Tensor {
        let rank = a.dims.len().max(b.dims.len());
        let mut dims = if a.dims.len() == rank { a.dims.clone() } else { b.dims.clone() };
        dims[rank - 2] = a.dims[a.dims.len() - 2];
        dims[rank - 1] = b.dims[b.dims.len() - 1];
        self.node("MatMul", &[a, b], vec![], dims)
    }

    /// `rows · x · columnsᵀ` on the last two axes.
    pub fn resample(&mut self, x: &Tensor, rows: &Matrix, columns: &Matrix) -> Tensor {
        let mut y = x.clone();
        if !columns.is_identity() {
            let m = self.matrix(&columns.transposed());
            y = self.matmul(&y, &m);
        }
        if !rows.is_identity() {
            let m = self.matrix(rows);
            y = self.matmul(&m, &y);
        }
        y
    }

    /// Mean of the `k` largest of the last axis of a matrix: n×len gives n×1.
    pub fn mean_of_largest(&mut self, x: &Tensor, k: usize) -> Tensor {
        let n = x.dims[0];
        let top = if k == x.dims[1] {
            x.clone()
        } else {
            let count = self.indices(&[k]);
            let attributes = vec![int("axis", 1), int("largest", 1), int("sorted", 1)];
            self.outputs("TopK", &[x, &count], attributes, &[vec![n, k], vec![n, k]]).remove(0)
        };
        self.mean(&top, &[1])
    }
}

fn kept(x: &Tensor, axes: &[usize]) -> Vec<usize> {
    x.dims.iter().enumerate().map(|(i, d)| if axes.contains(&i) { 1 } else { *d }).collect()
}
