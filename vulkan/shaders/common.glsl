// Shared by every shader: where values lie, how work is numbered, the activations.
//
// Bindings 0 to 5 are the input slots of the op, 6 is its output. A tensor may begin a few blocks behind the offset of its
// descriptor, because devices ask for coarser offsets than the 64 bytes of a block; `shifts` holds three bits a binding.
// Workgroups are numbered in one row: `group()`. Every width and tile is a specialisation constant.
//
// FAST is defined for devices that load and store 16-bit floats and add over subgroups: the bits of HALVES say which bindings
// hold such floats. Arithmetic is in 32 bits either way.
#ifdef FAST
#extension GL_EXT_shader_16bit_storage : require
#extension GL_KHR_shader_subgroup_arithmetic : require
#endif
#ifdef MATRIX
#extension GL_KHR_cooperative_matrix : require
#extension GL_KHR_memory_scope_semantics : require
#extension GL_EXT_shader_explicit_arithmetic_types_float16 : require
#pragma use_vulkan_memory_model
#endif

layout(local_size_x_id = 0) in;
layout(constant_id = 0) const uint WIDTH = 64;

// Workgroups in a row of the dispatch; more go into the next row (src/dispatch.rs).
const uint ROW = 32768;

#define PARAMS(fields) layout(push_constant) uniform Params { uint shifts; fields };

uint shift(uint shifts, uint slot) { return ((shifts >> (3 * slot)) & 7u) * 16u; }

#ifdef FAST
layout(constant_id = 10) const uint HALVES = 0;

#define INPUT(slot, name) \
    layout(set = 0, binding = slot) readonly buffer Input##slot { float name##_values[]; }; \
    layout(set = 0, binding = slot) readonly buffer Halves##slot { float16_t name##_halves[]; }; \
    float name(uint i) { \
        uint at = i + shift(shifts, slot); \
        return (HALVES >> slot & 1u) != 0 ? float(name##_halves[at]) : name##_values[at]; \
    }

#define OUTPUT \
    layout(set = 0, binding = 6) buffer Output { float output_values[]; }; \
    layout(set = 0, binding = 6) buffer OutputHalves { float16_t output_halves[]; }; \
    void put(uint i, float value) { \
        uint at = i + shift(shifts, 6); \
        if ((HALVES >> 6 & 1u) != 0) output_halves[at] = float16_t(value); \
        else output_values[at] = value; \
    }
#else
#define INPUT(slot, name) \
    layout(set = 0, binding = slot) readonly buffer Input##slot { float name##_values[]; }; \
    float name(uint i) { return name##_values[i + shift(shifts, slot)]; }

#define OUTPUT \
    layout(set = 0, binding = 6) buffer Output { float output_values[]; }; \
    void put(uint i, float value) { output_values[i + shift(shifts, 6)] = value; }
#endif

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
