//! A model as one ONNX graph: camera image in, score and map out.
//!
//! `image.rs` prepares what the plan sees, `ops.rs` writes the plan's ops, `outputs.rs` makes score and map of what they give.
//! Shapes are fixed, the op set is 17, and all ops are standard ones. The threshold and what else is known of the model goes
//! into the metadata.

use adflow::model::{MapKind, Model};
use prost::Message;

use super::graph::{GraphBuilder, Tensor};
use super::image::{self, Input};
use super::ops::emit_program;
use super::outputs;
use super::proto::{
    DimensionProto, ModelProto, OperatorSetIdProto, StringStringEntryProto, TensorShapeProto, TensorTypeProto,
    TypeProto, ValueInfoProto, element,
};

/// Version of the standard op set.
const OPSET: i64 = 17;
/// IR version that goes with it.
const IR_VERSION: i64 = 8;

/// A file, and what is to be said about it.
pub struct Exported {
    /// The bytes.
    pub bytes: Vec<u8>,
    /// Nodes of the graph.
    pub nodes: usize,
    /// Width and height of the map, if there is one.
    pub map: Option<(usize, usize)>,
    /// Why there is no map, where one was wanted.
    pub no_map: Option<&'static str>,
}

/// Writes the graph; the error says which op of which program stands in the way.
pub fn export(model: &Model<'_>, input: &Input, wants_map: bool) -> Result<Exported, String> {
    let mut g = GraphBuilder::new();
    for name in ["image", "score", "map"] {
        g.name(name);
    }
    let camera = Tensor { name: "image".into(), dims: input.dims() };
    let kept = image::kept(model, input);
    let kept = kept.as_deref();
    let prepared = image::prepare(&mut g, model, input, &camera, kept);
    let seen = image::views(&mut g, model, &prepared);

    let program = model.program("score").ok_or("the model has no program score")?;
    let values = emit_program(&mut g, model, program, &seen)?;
    let output = |name: &str| program.find(name).and_then(|at| values[at as usize].clone());
    let score = output("score").ok_or("program score gives no score")?;
    let grid = output("map");
    let score = outputs::score(&mut g, model, &score, grid.as_ref(), kept)?;

    let no_map = outputs::why_no_map(model).filter(|_| wants_map);
    let map = match (wants_map && no_map.is_none(), model.detector().map_kind()) {
        (false, _) | (_, MapKind::None) => None,
        (true, MapKind::Program) => {
            let grid = grid.ok_or("program score gives no map")?;
            Some(outputs::map(&mut g, model, &grid, kept))
        }
        (true, MapKind::Gradient) => {
            let program = model.program("localize").ok_or("the model has no program localize")?;
            let values = emit_program(&mut g, model, program, &seen)?;
            let gradient = program.find("gradient").and_then(|at| values[at as usize].clone());
            let gradient = gradient.ok_or("program localize gives no gradient")?;
            Some(outputs::gradient_map(&mut g, model, &gradient, kept))
        }
    };

    let score = g.output(&score, "score");
    let map = map.map(|map| g.output(&map, "map"));
    let mut graph = g.finish("adflow");
    graph.input.push(info("image", input.element(), &input.dims(), &describe(input)));
    graph.output.push(info("score", element::FLOAT, &score.dims, "anomaly score, larger is stranger"));
    if let Some(map) = &map {
        graph.output.push(info("map", element::FLOAT, &map.dims, "how strange each pixel of the canvas is"));
    }
    let nodes = graph.node.len();
    let file = ModelProto {
        ir_version: IR_VERSION,
        producer_name: "adflow".into(),
        producer_version: env!("CARGO_PKG_VERSION").into(),
        doc_string: "Anomaly detector: camera image in, score and map out".into(),
        graph: Some(graph),
        opset_import: vec![OperatorSetIdProto { domain: String::new(), version: OPSET }],
        metadata_props: metadata(model, input),
    };
    if file.encoded_len() > i32::MAX as usize {
        return Err(format!("the graph has {} bytes, and an ONNX file must stay below 2 GiB", file.encoded_len()));
    }
    let map = map.map(|map| (map.dims[3], map.dims[2]));
    Ok(Exported { bytes: file.encode_to_vec(), nodes, map, no_map })
}

/// What the input is, for people.
pub fn describe(input: &Input) -> String {
    let layout = if input.nhwc { "1xHxWxC" } else { "1xCxHxW" };
    format!("{} {} image, {}x{}, {layout}", input.sample, input.order, input.width, input.height)
}

fn info(name: &str, elem_type: i32, dims: &[usize], doc: &str) -> ValueInfoProto {
    let dim = |d: &usize| DimensionProto { dim_value: Some(*d as i64), dim_param: None };
    let shape = TensorShapeProto { dim: dims.iter().map(dim).collect() };
    let tensor = TensorTypeProto { elem_type, shape: Some(shape) };
    let kind = TypeProto { tensor_type: Some(tensor) };
    ValueInfoProto { name: name.into(), kind: Some(kind), doc_string: doc.into() }
}

fn metadata(model: &Model<'_>, input: &Input) -> Vec<StringStringEntryProto> {
    let mut entries = Vec::new();
    let mut put = |key: &str, value: String| {
        entries.push(StringStringEntryProto { key: format!("adflow.{key}"), value });
    };
    // How the model was made: method, backbone, seed and the rest.
    model.about().for_each(|(key, value)| put(&format!("model.{key}"), value.to_string()));
    put("method", model.method().to_string());
    put("input", describe(input));
    put("canvas", format!("{}x{}", model.canvas().0, model.canvas().1));
    if let Some(threshold) = model.threshold() {
        put("threshold", threshold.reject.to_string());
        if let Some(accept) = threshold.accept {
            put("accept", accept.to_string());
        }
        put("false_reject", threshold.false_reject.to_string());
        put("confidence", threshold.confidence.to_string());
        put("held_out", threshold.held_out.to_string());
    }
    let (typical, limit) = model.map_scale();
    put("map_typical", typical.to_string());
    put("map_limit", limit.to_string());
    entries
}
