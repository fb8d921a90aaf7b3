//! A convolutional network from an ONNX file, as a backbone.
//!
//! Of the graph only what the chosen taps need is read. The op set is closed: convolutions, batch normalisation (folded where it
//! follows a convolution alone), relu, relu6, sigmoid, pooling, means over positions, sums, products and concatenations. Anything
//! else is an error that names node and op. The file may come from anywhere: every index and extent is checked, nothing is
//! run, and no other file is opened.

use std::collections::HashMap;

use adflow::backbones::{Backbone, Network, Source, Step, Weights};
use adflow::checksum::Digest;
use adflow::kernels::Activation;
use adflow::kernels::smooth::Curve;
use adflow::op::{
    Activate, Add, ChannelScale, Concat, Conv2d, GlobalMean, MAX_INPUTS, MaxPool, Multiply, Op, ScaleShift, Smooth,
};
use adflow::shape::Shape;
use prost::Message;

use super::proto::{AttributeProto, GraphProto, ModelProto, NodeProto, TensorProto, element};

/// Longest file that is read.
const MAX_BYTES: usize = 1 << 31;
/// Most names that a message lists.
const LISTED: usize = 8;

/// Reads a network whose input is `x·scale[c] + shift[c]` of samples in 0..1. The error is one sentence without the file's name.
pub fn import(bytes: &[u8], taps: &[String], scale: [f32; 3], shift: [f32; 3]) -> Result<Backbone, String> {
    if bytes.len() > MAX_BYTES {
        return Err("it is larger than 2 GiB".into());
    }
    let model = ModelProto::decode(bytes).map_err(|error| format!("it is not an ONNX file: {error}"))?;
    let version = model.opset_import.iter().find(|set| standard(&set.domain)).map(|set| set.version);
    let graph = model.graph.as_ref().filter(|g| !g.node.is_empty()).ok_or("it is not an ONNX file: it has no graph")?;
    if version.is_none_or(|v| v < 7) {
        return Err("it needs the standard op set in version 7 or later".into());
    }
    let reader = Reader::new(graph)?;
    if taps.is_empty() {
        return Err(format!("choose with --taps where features are read, for example {}", reader.suggestion()));
    }
    let mut digest = Digest::new(0);
    digest.write(bytes);
    let (steps, taps, weights) = reader.read(taps)?;
    let network = Network { steps, taps, scale, shift, digest: digest.finish() };
    Backbone::from_network(network, weights).map_err(|error| error.to_string())
}

fn standard(domain: &str) -> bool {
    domain.is_empty() || domain == "ai.onnx"
}

/// Nodes, constants and who makes what.
struct Reader<'a> {
    graph: &'a GraphProto,
    constants: HashMap<&'a str, &'a TensorProto>,
    /// The node that makes a tensor.
    made: HashMap<&'a str, usize>,
    image: &'a str,
}

/// What a name stands for.
#[derive(Clone, Debug)]
struct Value {
    source: Source,
    channels: u32,
    /// Whether it is one number a channel.
    global: bool,
}

/// What reading gives: steps, taps, weights.
type Layers = (Vec<Step>, Vec<(String, usize)>, Weights);

impl<'a> Reader<'a> {
    fn new(graph: &'a GraphProto) -> Result<Self, String> {
        let mut constants: HashMap<&str, &TensorProto> = HashMap::new();
        let mut made = HashMap::new();
        for tensor in &graph.initializer {
            constants.insert(&tensor.name, tensor);
        }
        for (at, node) in graph.node.iter().enumerate() {
            for output in node.output.iter().filter(|o| !o.is_empty()) {
                if made.insert(output.as_str(), at).is_some() || constants.contains_key(output.as_str()) {
                    return Err(format!("tensor \"{output}\" is made twice"));
                }
                // PyTorch stores equal weights once, and gives them their other names with Identity.
                let constant = match (node.op_type.as_str(), node.input.first()) {
                    ("Constant", _) => node.attribute.iter().find(|a| a.name == "value").and_then(|a| a.t.as_ref()),
                    ("Identity", Some(of)) => constants.get(of.as_str()).copied(),
                    _ => None,
                };
                if let Some(tensor) = constant {
                    constants.insert(output, tensor);
                }
            }
        }
        let inputs: Vec<_> = graph.input.iter().filter(|i| !constants.contains_key(i.name.as_str())).collect();
        let [input] = inputs[..] else {
            return Err(format!("expected one input, an image; found {}", inputs.len()));
        };
        let shape = input.kind.as_ref().and_then(|k| k.tensor_type.as_ref()).and_then(|t| t.shape.as_ref());
        if let Some(shape) = shape {
            let channels = shape.dim.get(1).and_then(|d| d.dim_value);
            if shape.dim.len() != 4 || channels.is_some_and(|c| c != 3) {
                return Err(format!("input \"{}\" is no N×3×H×W image", input.name));
            }
        }
        Ok(Self { graph, constants, made, image: &input.name })
    }

    /// The last outputs of nodes that make maps, for a message.
    fn suggestion(&self) -> String {
        let maps =
            self.graph.node.iter().filter(|n| matches!(&*n.op_type, "Relu" | "Clip" | "Add" | "MaxPool" | "Concat"));
        let names: Vec<&str> = maps.filter_map(|n| n.output.first()).map(String::as_str).collect();
        let from = names.len().saturating_sub(LISTED);
        if names.is_empty() { "the name of a tensor".into() } else { format!("of these: {}", names[from..].join(", ")) }
    }

    fn read(&self, taps: &'a [String]) -> Result<Layers, String> {
        for (at, tap) in taps.iter().enumerate() {
            if !self.made.contains_key(tap.as_str()) {
                return Err(format!("there is no tensor \"{tap}\"; choose {}", self.suggestion()));
            }
            if taps[..at].contains(tap) {
                return Err(format!("tap \"{tap}\" is named twice"));
            }
        }
        // What the taps need, and how often each tensor is read.
        let mut needed = vec![false; self.graph.node.len()];
        let mut uses: HashMap<&str, usize> = HashMap::new();
        for tap in taps {
            needed[self.made[tap.as_str()]] = true;
            // A tap is kept as it is: nothing is folded into it.
            *uses.entry(tap).or_default() += 2;
        }
        for (at, node) in self.graph.node.iter().enumerate().rev() {
            if !needed[at] {
                continue;
            }
            for input in node.input.iter().filter(|i| !i.is_empty()) {
                *uses.entry(input).or_default() += 1;
                match self.made.get(input.as_str()) {
                    Some(&from) if from >= at => {
                        return Err(format!("{} reads \"{input}\" before it is made", label(node, at)));
                    }
                    Some(&from) => needed[from] = true,
                    None => {}
                }
            }
        }
        let mut layers =
            Layering { reader: self, uses, values: HashMap::new(), steps: Vec::new(), weights: Weights::new() };
        let image = Value { source: Source::Image, channels: 3, global: false };
        layers.values.insert(self.image, image);
        for (at, node) in self.graph.node.iter().enumerate().filter(|(at, _)| needed[*at]) {
            let constant = |name: &String| self.constants.contains_key(name.as_str());
            if node.op_type == "Constant" || node.output.first().is_some_and(constant) {
                continue;
            }
            let fail = |why: String| format!("{}: {why}", label(node, at));
            if !standard(&node.domain) {
                return Err(fail(format!("the op is of the foreign domain \"{}\"", node.domain)));
            }
            let value = layers.node(node).map_err(fail)?;
            let output = node.output.first().filter(|o| !o.is_empty());
            layers.values.insert(output.ok_or_else(|| fail("it has no output".into()))?, value);
        }
        let mut found = Vec::new();
        for tap in taps {
            match layers.values.get(tap.as_str()) {
                Some(Value { source: Source::Step(step), .. }) => found.push((tap.clone(), *step)),
                _ => return Err(format!("tap \"{tap}\" is not the result of a layer")),
            }
        }
        Ok((layers.steps, found, layers.weights))
    }
}

/// A node in messages.
fn label(node: &NodeProto, at: usize) -> String {
    let name = if node.name.is_empty() { node.output.first().map_or("", String::as_str) } else { &node.name };
    format!("node {at} \"{name}\" ({})", node.op_type)
}

/// Steps being written.
struct Layering<'r, 'a> {
    reader: &'r Reader<'a>,
    uses: HashMap<&'a str, usize>,
    values: HashMap<&'a str, Value>,
    steps: Vec<Step>,
    weights: Weights,
}

impl<'a> Layering<'_, 'a> {
    fn node(&mut self, node: &'a NodeProto) -> Result<Value, String> {
        match node.op_type.as_str() {
            "Conv" => self.conv(node),
            "BatchNormalization" => self.batch_norm(node),
            "Relu" => self.activation(node, Activation::Relu),
            "Clip" => {
                let low = self.bound(node, "min", 1)?;
                let high = self.bound(node, "max", 2)?;
                match (low, high) {
                    (Some(0.0), Some(6.0)) => self.activation(node, Activation::Relu6),
                    (Some(0.0), None) => self.activation(node, Activation::Relu),
                    _ => Err(format!("expected limits 0 and 6, found {low:?} and {high:?}")),
                }
            }
            "Sigmoid" => {
                let x = self.input(node, 0)?;
                self.step(node, Smooth { curve: Curve::Sigmoid }, &[&x], x.channels, x.global)
            }
            "MaxPool" => {
                let x = self.input(node, 0)?;
                let (k, stride, pads) = pooling(node)?;
                if pads != [pads[0]; 4] {
                    return Err(format!("pads {pads:?} differ"));
                }
                self.step(node, MaxPool { k, stride, pad: pads[0] }, &[&x], x.channels, false)
            }
            "AveragePool" => self.average(node),
            "GlobalAveragePool" => {
                let x = self.input(node, 0)?;
                self.step(node, GlobalMean {}, &[&x], x.channels, true)
            }
            "ReduceMean" => {
                let mut axes = ints(node, "axes")?;
                if let (None, Some(name)) = (&axes, node.input.get(1)) {
                    axes = Some(self.integers(name)?);
                }
                let positions = axes.is_some_and(|a| a == [2, 3] || a == [-2, -1]);
                if !positions || int(node, "keepdims", 1)? != 1 {
                    return Err("only means over rows and columns that keep their axes are known".into());
                }
                let x = self.input(node, 0)?;
                self.step(node, GlobalMean {}, &[&x], x.channels, true)
            }
            "Add" => {
                let (a, b) = (self.input(node, 0)?, self.input(node, 1)?);
                self.step(node, Add {}, &[&a, &b], a.channels, a.global && b.global)
            }
            "Mul" => {
                let (a, b) = (self.input(node, 0)?, self.input(node, 1)?);
                match (a.global, b.global) {
                    (false, true) => self.step(node, ChannelScale {}, &[&a, &b], a.channels, false),
                    (true, false) => self.step(node, ChannelScale {}, &[&b, &a], b.channels, false),
                    (global, _) => self.step(node, Multiply {}, &[&a, &b], a.channels, global),
                }
            }
            "Concat" => {
                if int(node, "axis", 1)? != 1 || node.input.len() > MAX_INPUTS {
                    return Err(format!("only up to {MAX_INPUTS} maps are joined, along channels"));
                }
                let parts: Vec<Value> = (0..node.input.len()).map(|i| self.input(node, i)).collect::<Result<_, _>>()?;
                let channels = parts.iter().fold(0u32, |n, p| n.saturating_add(p.channels));
                let global = parts.iter().all(|p| p.global);
                self.step(node, Concat {}, &parts.iter().collect::<Vec<_>>(), channels, global)
            }
            "Identity" | "Dropout" => self.input(node, 0),
            _ => Err("an imported backbone cannot have this op; known are Conv, BatchNormalization, Relu, Clip, Sigmoid, \
                      MaxPool, AveragePool, GlobalAveragePool, ReduceMean, Add, Mul, Concat, Identity, Dropout and Constant"
                .into()),
        }
    }

    /// A map or a vector that a node reads.
    fn input(&self, node: &NodeProto, slot: usize) -> Result<Value, String> {
        let name = node.input.get(slot).filter(|i| !i.is_empty()).ok_or_else(|| format!("input {slot} is missing"))?;
        self.values
            .get(name.as_str())
            .cloned()
            .ok_or_else(|| format!("input {slot}, \"{name}\", is no map of this network"))
    }

    fn constant(&self, name: &str) -> Result<&'a TensorProto, String> {
        let found = self.reader.constants.get(name).copied();
        found.ok_or_else(|| format!("\"{name}\" must be a constant"))
    }

    /// Extents and values of a constant of floats.
    fn floats(&self, node: &NodeProto, slot: usize) -> Result<(Vec<usize>, Vec<f32>), String> {
        let name = node.input.get(slot).ok_or_else(|| format!("input {slot} is missing"))?;
        floats(self.constant(name)?)
    }

    fn integers(&self, name: &str) -> Result<Vec<i64>, String> {
        let tensor = self.constant(name)?;
        if tensor.data_type != element::INT64 || tensor.data_location != 0 {
            return Err(format!("\"{name}\" must hold 64-bit integers"));
        }
        if tensor.raw_data.is_empty() {
            return Ok(tensor.int64_data.clone());
        }
        Ok(tensor.raw_data.as_chunks::<8>().0.iter().map(|b| i64::from_le_bytes(*b)).collect())
    }

    /// A limit of a clip: an attribute before op set 11, an input since.
    fn bound(&self, node: &NodeProto, attribute: &str, slot: usize) -> Result<Option<f32>, String> {
        let limit = match (attribute_of(node, attribute), node.input.get(slot).filter(|i| !i.is_empty())) {
            (Some(a), _) => Some(a.f),
            (None, Some(_)) => self.floats(node, slot)?.1.first().copied(),
            (None, None) => None,
        };
        Ok(limit.filter(|v| v.abs() < 1e30))
    }

    fn weight(&mut self, name: String, dims: &[usize], data: Vec<f32>) -> Result<Source, String> {
        let mut shape = [1; 4];
        for (to, from) in shape.iter_mut().zip(dims) {
            *to = u32::try_from(*from).map_err(|_| format!("\"{name}\" is too large"))?;
        }
        self.weights.insert(&name, dims, data).map_err(|error| error.to_string())?;
        Ok(Source::Weight(name, Shape(shape)))
    }

    fn step(
        &mut self,
        node: &NodeProto,
        op: impl Into<Op>,
        inputs: &[&Value],
        channels: u32,
        global: bool,
    ) -> Result<Value, String> {
        let inputs = inputs.iter().map(|v| Some(v.source.clone())).collect();
        self.push(node, op.into(), inputs, channels, global)
    }

    fn push(
        &mut self,
        node: &NodeProto,
        op: Op,
        inputs: Vec<Option<Source>>,
        channels: u32,
        global: bool,
    ) -> Result<Value, String> {
        let name = node.output.first().cloned().unwrap_or_default();
        self.steps.push(Step { name, op, inputs });
        Ok(Value { source: Source::Step(self.steps.len() - 1), channels, global })
    }

    fn conv(&mut self, node: &'a NodeProto) -> Result<Value, String> {
        let x = self.input(node, 0)?;
        let (dims, data) = self.floats(node, 1)?;
        let [out, per_group, kh, kw] = dims[..] else {
            return Err(format!("its weight has {} axes, not 4", dims.len()));
        };
        let kernel = ints(node, "kernel_shape")?;
        if kernel.is_some_and(|k| k != [kh as i64, kw as i64]) {
            return Err("kernel_shape differs from the weight's".into());
        }
        let stride = both(node, "strides")?;
        let dilation = both(node, "dilations")?;
        let [top, left, bottom, right] = pads(node)?;
        let groups = small(int(node, "group", 1)?, "group")?;
        if groups == 0 || (per_group as u64).saturating_mul(u64::from(groups)) != u64::from(x.channels) {
            return Err(format!("its weight reads {per_group}×{groups} channels, its input has {}", x.channels));
        }
        let channels = small(out as i64, "channels")?;
        let output = node.output.first().cloned().unwrap_or_default();
        let w = self.weight(format!("{output}.weight"), &dims, data)?;
        let bias = match node.input.get(2).filter(|i| !i.is_empty()) {
            None => vec![0.0; out],
            Some(_) => self.vector(node, 2, out)?,
        };
        let b = self.weight(format!("{output}.bias"), &[out], bias)?;
        let op = Conv2d { stride, dilation, groups, top, left, bottom, right, act: Activation::None };
        self.push(node, op.into(), vec![Some(x.source), Some(w), Some(b)], channels, x.global)
    }

    /// A constant with a number for each channel.
    fn vector(&self, node: &NodeProto, slot: usize, len: usize) -> Result<Vec<f32>, String> {
        let (_, data) = self.floats(node, slot)?;
        if data.len() != len {
            return Err(format!("input {slot} has {} numbers in place of {len}", data.len()));
        }
        Ok(data)
    }

    /// The convolution that made `name`, where nothing else reads it and nothing has been folded into it.
    fn foldable(&self, node: &NodeProto) -> Option<usize> {
        let name = node.input.first()?;
        if self.uses.get(name.as_str()) != Some(&1) {
            return None;
        }
        let Source::Step(at) = self.values.get(name.as_str())?.source else { return None };
        match self.steps[at].op {
            Op::Conv2d(op) if op.act == Activation::None => Some(at),
            _ => None,
        }
    }

    fn activation(&mut self, node: &'a NodeProto, act: Activation) -> Result<Value, String> {
        let x = self.input(node, 0)?;
        if let Some(at) = self.foldable(node)
            && let Op::Conv2d(op) = &mut self.steps[at].op
        {
            op.act = act;
            return Ok(x);
        }
        self.step(node, Activate { act }, &[&x], x.channels, x.global)
    }

    fn batch_norm(&mut self, node: &'a NodeProto) -> Result<Value, String> {
        let x = self.input(node, 0)?;
        if int(node, "training_mode", 0)? != 0 || int(node, "spatial", 1)? != 1 {
            return Err("only the form with fixed statistics is known".into());
        }
        let c = x.channels as usize;
        let [gamma, beta, mean, variance] = [1, 2, 3, 4].map(|slot| self.vector(node, slot, c));
        let (gamma, beta, mean, variance) = (gamma?, beta?, mean?, variance?);
        let eps = f64::from(attribute_of(node, "epsilon").map_or(1e-5, |a| a.f));
        if !variance.iter().all(|v| f64::from(*v) + eps > 0.0) {
            return Err("a variance is negative, or not a number".into());
        }
        let factors: Vec<f64> =
            gamma.iter().zip(&variance).map(|(g, v)| f64::from(*g) / (f64::from(*v) + eps).sqrt()).collect();
        let shift = |bias: &[f32]| -> Vec<f32> {
            let terms = beta.iter().zip(&mean).zip(&factors).zip(bias);
            terms.map(|(((b, m), f), bias)| (f64::from(*b) + (f64::from(*bias) - f64::from(*m)) * f) as f32).collect()
        };
        if let Some(at) = self.foldable(node)
            && let [_, Some(Source::Weight(w, shape)), Some(Source::Weight(b, _))] = &self.steps[at].inputs[..]
        {
            let (w, b, shape) = (w.clone(), b.clone(), *shape);
            let weight = self.weights.get(&w, shape).map_err(|error| error.to_string())?;
            let bias = shift(self.weights.get(&b, Shape::vector(x.channels)).map_err(|error| error.to_string())?);
            let filter = weight.len() / c.max(1);
            let rows = weight.chunks_exact(filter.max(1)).zip(&factors);
            let weight = rows.flat_map(|(row, f)| row.iter().map(move |v| (f64::from(*v) * f) as f32)).collect();
            self.weight(w, &shape.0.map(|d| d as usize), weight)?;
            self.weight(b, &[c], bias)?;
            return Ok(x);
        }
        let output = node.output.first().cloned().unwrap_or_default();
        let scale = self.weight(format!("{output}.scale"), &[c], factors.iter().map(|f| *f as f32).collect())?;
        let shift = self.weight(format!("{output}.shift"), &[c], shift(&vec![0.0; c]))?;
        let inputs = vec![Some(x.source), Some(scale), Some(shift)];
        self.push(node, ScaleShift { inverse: false }.into(), inputs, x.channels, x.global)
    }

    /// A mean of windows is a convolution of each channel with one number.
    fn average(&mut self, node: &'a NodeProto) -> Result<Value, String> {
        let x = self.input(node, 0)?;
        let (k, stride, [top, left, bottom, right]) = pooling(node)?;
        if [top, left, bottom, right] != [0; 4] && int(node, "count_include_pad", 0)? != 1 {
            return Err("with pads only count_include_pad=1 is known".into());
        }
        if k == 0 || k > 64 {
            return Err(format!("windows of {k} are not known"));
        }
        if u64::from(x.channels) * u64::from(k * k) > 1 << 24 {
            return Err(format!("{} channels are too many", x.channels));
        }
        let (c, area) = (x.channels as usize, (k * k) as usize);
        let output = node.output.first().cloned().unwrap_or_default();
        let w =
            self.weight(format!("{output}.mean"), &[c, 1, k as usize, k as usize], vec![1.0 / area as f32; c * area])?;
        let op = Conv2d { stride, dilation: 1, groups: x.channels, top, left, bottom, right, act: Activation::None };
        self.push(node, op.into(), vec![Some(x.source), Some(w)], x.channels, false)
    }
}

/// Extents and values of a tensor of floats.
fn floats(tensor: &TensorProto) -> Result<(Vec<usize>, Vec<f32>), String> {
    let name = &tensor.name;
    if tensor.data_location != 0 {
        return Err(format!("tensor \"{name}\" lies in another file, which is not read"));
    }
    if tensor.data_type != element::FLOAT {
        return Err(format!("tensor \"{name}\" is of type {}; only 32-bit floats (1) are read", tensor.data_type));
    }
    let dims: Option<Vec<usize>> = tensor.dims.iter().map(|d| usize::try_from(*d).ok()).collect();
    let len = dims.as_ref().and_then(|dims| dims.iter().try_fold(1usize, |n, d| n.checked_mul(*d)));
    let data: Vec<f32> = if tensor.raw_data.is_empty() {
        tensor.float_data.clone()
    } else {
        tensor.raw_data.as_chunks::<4>().0.iter().map(|b| f32::from_le_bytes(*b)).collect()
    };
    match dims {
        Some(dims) if len == Some(data.len()) => Ok((dims, data)),
        _ => Err(format!("tensor \"{name}\" has extents {:?} and {} values", tensor.dims, data.len())),
    }
}

fn attribute_of<'n>(node: &'n NodeProto, name: &str) -> Option<&'n AttributeProto> {
    node.attribute.iter().find(|a| a.name == name)
}

fn int(node: &NodeProto, name: &str, default: i64) -> Result<i64, String> {
    Ok(attribute_of(node, name).map_or(default, |a| a.i))
}

fn ints(node: &NodeProto, name: &str) -> Result<Option<Vec<i64>>, String> {
    Ok(attribute_of(node, name).map(|a| a.ints.clone()))
}

fn small(value: i64, what: &str) -> Result<u32, String> {
    u32::try_from(value).ok().filter(|v| *v <= 1 << 20).ok_or_else(|| format!("{what} {value} is out of range"))
}

/// An attribute with one number for rows and the same for columns; 1 where it is left out.
fn both(node: &NodeProto, name: &str) -> Result<u32, String> {
    match ints(node, name)?.as_deref() {
        None => Ok(1),
        Some([a, b]) if a == b => small(*a, name),
        Some(other) => Err(format!("{name} {other:?}: two equal numbers are known")),
    }
}

/// Top, left, bottom, right.
fn pads(node: &NodeProto) -> Result<[u32; 4], String> {
    let auto = attribute_of(node, "auto_pad").map_or(&b"NOTSET"[..], |a| &a.s);
    match (auto, ints(node, "pads")?.as_deref()) {
        (b"VALID", _) | (b"NOTSET" | b"", None) => Ok([0; 4]),
        (b"NOTSET" | b"", Some(&[top, left, bottom, right])) => {
            Ok([small(top, "pads")?, small(left, "pads")?, small(bottom, "pads")?, small(right, "pads")?])
        }
        (b"NOTSET" | b"", Some(other)) => Err(format!("pads {other:?}: four numbers are known")),
        (auto, _) => {
            let auto = String::from_utf8_lossy(auto);
            Err(format!("auto_pad {auto} depends on the image's size; export with explicit pads"))
        }
    }
}

/// Side of the window, stride and pads of a pooling.
fn pooling(node: &NodeProto) -> Result<(u32, u32, [u32; 4]), String> {
    let k = both(node, "kernel_shape")?;
    if int(node, "ceil_mode", 0)? != 0 || both(node, "dilations")? != 1 || node.output.len() > 1 {
        return Err("ceil_mode, dilations and indices are not known".into());
    }
    Ok((k, both(node, "strides")?, pads(node)?))
}
