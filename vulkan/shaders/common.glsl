// Shared by every shader: where values lie, how work is numbered, the activations.
//
// Bindings 0 to 5 are the input slots of the op, 6 is its output. A tensor may begin a few blocks behind the offset of its
// descriptor, because devices ask for coarser offsets than the 64 bytes of a block; `shifts` holds three bits a binding.
// Workgroups are numbered in one row: `group()`. Every width and tile is a specialisation constant.

layout(local_size_x_id = 0) in;
layout(constant_id = 0) const uint WIDTH = 64;

// Workgroups in a row of the dispatch; more go into the next row (src/dispatch.rs).
const uint ROW = 32768;

#define PARAMS(fields) layout(push_constant) uniform Params { uint shifts; fields };

uint shift(uint shifts, uint slot) { return ((shifts >> (3 * slot)) & 7u) * 16u; }

#define INPUT(slot, name) \
    layout(set = 0, binding = slot) readonly buffer Input##slot { float name##_values[]; }; \
    float name(uint i) { return name##_values[i + shift(shifts, slot)]; }

#define OUTPUT \
    layout(set = 0, binding = 6) buffer Output { float output_values[]; }; \
    void put(uint i, float value) { output_values[i + shift(shifts, 6)] = value; }

uint group() { return gl_WorkGroupID.y * ROW + gl_WorkGroupID.x; }
uint lane() { return gl_LocalInvocationID.x; }
uint element() { return group() * WIDTH + lane(); }

const uint RELU = 1;
const uint RELU6 = 2;

// Comparisons instead of max and min, so that NaN passes.
float activate(uint act, float v) {
    if (act != 0 && v < 0.0) v = 0.0;
    if (act == RELU6 && v > 6.0) v = 6.0;
    return v;
}
