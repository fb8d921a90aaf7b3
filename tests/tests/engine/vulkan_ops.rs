//! Every op on Vulkan against the f64 reference, over the same cases as on the CPU, with validation watching.

use adflow::executor::Executor;
use adflow::plan::Region;
use adflow_tests::cases::{Case, FAMILIES};
use adflow_tests::compare::{bits_differ, difference};
use adflow_tests::reference::of_case;
use adflow_tests::single_op;
use adflow_tests::vulkan;
use adflow_vulkan::{VulkanDevice, VulkanOptions};

/// Output and state on the device.
fn on_device(device: &VulkanDevice, case: &Case, batch: usize) -> (Vec<f32>, Vec<f32>) {
    let owned = single_op::program(case);
    let program = owned.program();
    let [params, grads, state] = [Region::Params, Region::Grads, Region::State].map(|r| single_op::floats(&program, r));
    let mut executor = device.open_executor(&vec![0.0; params], grads, state).expect("an executor");
    let prepared = executor.prepare(program, batch).unwrap_or_else(|e| panic!("{case}: {e}"));
    let values = case.values(batch);
    for (slot, values) in values.iter().enumerate() {
        executor.input(prepared, &slot.to_string()).copy_from_slice(match slot {
            0 | 1 if case.before.is_some() => &[],
            _ => values,
        });
    }
    if let Some(before) = case.before(batch) {
        executor.write(Region::Params, &before).expect("params");
        executor.write(Region::Grads, &values[0]).expect("grads");
        executor.write(Region::State, &values[1]).expect("state");
    }
    executor.run(prepared).unwrap_or_else(|e| panic!("{case}: {e}"));
    match case.before(batch) {
        Some(before) => {
            let (mut params, mut state) = (before, values[1].clone());
            executor.read(Region::Params, &mut params).expect("params");
            executor.read(Region::State, &mut state).expect("state");
            (params, state)
        }
        None => (executor.output(prepared, "y").to_vec(), Vec::new()),
    }
}

/// Every case of a family, with what every device can do and with what this one can do besides.
fn family(name: &str) {
    for generic in [true, false] {
        let Some(device) = vulkan::device(VulkanOptions::default().with_generic(generic)) else { return };
        if generic || device.info().fast {
            family_on(name, &device);
        }
    }
    vulkan::assert_silent();
}

fn family_on(name: &str, device: &VulkanDevice) {
    let (_, cases) = FAMILIES.iter().find(|f| f.0 == name).expect("a family of that name");
    let (mut faults, cases) = (Vec::new(), cases());
    for case in &cases {
        for &batch in case.batches {
            let (want, want_state) = of_case(case, batch);
            let (got, state) = on_device(device, case, batch);
            let allowed = case.op.device_tolerance(&case.types(), batch);
            let differs = difference(&got, &want, allowed).or_else(|| difference(&state, &want_state, allowed));
            faults.extend(differs.map(|text| format!("{case}\n    batch {batch}: {text}")));
            if batch == case.batches[0] {
                let again = on_device(device, case, batch);
                let differs = bits_differ(&got, &again.0).or_else(|| bits_differ(&state, &again.1));
                faults.extend(differs.map(|text| format!("{case}\n    batch {batch}, run again: {text}")));
            }
        }
    }
    let shown = faults.iter().take(12).cloned().collect::<Vec<_>>().join("\n  ");
    assert!(faults.is_empty(), "{} faults in {} cases:\n  {shown}", faults.len(), cases.len());
}

adflow_tests::each_family!(family);
