//! `adflow devices`: the GPUs that `--device vulkan:N` can name.

use adflow_vulkan::DeviceInfo;
use serde_json::json;

use crate::args::Devices;
use crate::failure::{Failure, Outcome};
use crate::progress::bytes;

/// Runs the command. A machine without Vulkan has no devices, which is an answer and not an error.
pub fn run(args: &Devices) -> Outcome<u8> {
    let (devices, why) = match adflow_vulkan::devices() {
        Ok(devices) => (devices, None),
        Err(error) => (Vec::new(), Some(error.to_string())),
    };
    if args.json {
        let list: Vec<_> = devices.iter().map(to_json).collect();
        let text = serde_json::to_string_pretty(&json!({ "devices": list, "note": why }));
        println!("{}", text.map_err(|e| Failure::new(e.to_string()))?);
        return Ok(0);
    }
    if let Some(why) = why {
        println!("{why}");
    }
    for d in &devices {
        println!("vulkan:{}  {}", d.index, d.name);
        println!("          {}, Vulkan {}, memory {}", d.kind.as_str(), d.api_version, bytes(d.memory as usize));
        println!("          uuid {}", d.uuid);
    }
    Ok(0)
}

fn to_json(d: &DeviceInfo) -> serde_json::Value {
    json!({
        "index": d.index,
        "name": d.name,
        "kind": d.kind.as_str(),
        "uuid": d.uuid,
        "api_version": d.api_version,
        "driver_version": d.driver_version,
        "memory": d.memory,
        "unified_memory": d.unified,
        "max_tensor_bytes": d.max_range,
        "max_invocations": d.max_invocations,
        "max_shared_bytes": d.max_shared,
        "range_alignment": d.alignment,
        "subgroup": d.subgroup,
        "fast_shaders": d.fast,
        "cooperative_matrix": d.cooperative_matrix,
        "timestamp_ns": d.timestamp_ns,
    })
}
