//! The messages of an ONNX file, as far as they are written and read here.
//!
//! Field numbers are those of the ONNX specification (IR version 8); fields that nobody here uses are left out and skipped when
//! reading, as protobuf does. A table a message says number, kind and how often; `prost` does the encoding. It is used without its
//! derive macros, which would compile for longer than everything here. Reading never trusts a number: `import.rs` checks each before use.

use prost::Message;
use prost::bytes::{Buf, BufMut};
use prost::encoding::{DecodeContext, WireType, skip_field};

fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}

/// Declares messages: `field: Type = number, how often, kind`.
macro_rules! message {
    ($($(#[$doc:meta])* $name:ident { $($(#[$field_doc:meta])* $field:ident : $ty:ty = $tag:literal $often:ident $kind:ident),* $(,)? })*) => {$(
        $(#[$doc])*
        #[derive(Clone, Debug, Default, PartialEq)]
        pub struct $name { $($(#[$field_doc])* pub $field: $ty),* }

        impl Message for $name {
            fn encode_raw(&self, buf: &mut impl BufMut) {
                $(encode!($often $kind, $tag, &self.$field, buf);)*
            }

            fn merge_field(
                &mut self,
                tag: u32,
                wire: WireType,
                buf: &mut impl Buf,
                context: DecodeContext,
            ) -> Result<(), prost::DecodeError> {
                match tag {
                    $($tag => merge!($often $kind, wire, &mut self.$field, buf, context),)*
                    _ => skip_field(wire, tag, buf, context),
                }
            }

            fn encoded_len(&self) -> usize {
                0 $(+ length!($often $kind, $tag, &self.$field))*
            }

            fn clear(&mut self) {
                *self = Self::default();
            }
        }
    )*};
}

/// `one` is left out where it is the default, `maybe` where there is none.
macro_rules! encode {
    (one $kind:ident, $tag:expr, $field:expr, $buf:expr) => {
        if !is_default($field) {
            prost::encoding::$kind::encode($tag, $field, $buf)
        }
    };
    (maybe $kind:ident, $tag:expr, $field:expr, $buf:expr) => {
        if let Some(value) = $field {
            prost::encoding::$kind::encode($tag, value, $buf)
        }
    };
    (many $kind:ident, $tag:expr, $field:expr, $buf:expr) => {
        prost::encoding::$kind::encode_repeated($tag, $field, $buf)
    };
}

macro_rules! merge {
    (one $kind:ident, $wire:expr, $field:expr, $buf:expr, $context:expr) => {
        prost::encoding::$kind::merge($wire, $field, $buf, $context)
    };
    (maybe $kind:ident, $wire:expr, $field:expr, $buf:expr, $context:expr) => {
        prost::encoding::$kind::merge($wire, $field.get_or_insert_default(), $buf, $context)
    };
    (many $kind:ident, $wire:expr, $field:expr, $buf:expr, $context:expr) => {
        prost::encoding::$kind::merge_repeated($wire, $field, $buf, $context)
    };
}

macro_rules! length {
    (one $kind:ident, $tag:expr, $field:expr) => {
        if is_default($field) { 0 } else { prost::encoding::$kind::encoded_len($tag, $field) }
    };
    (maybe $kind:ident, $tag:expr, $field:expr) => {
        $field.as_ref().map_or(0, |value| prost::encoding::$kind::encoded_len($tag, value))
    };
    (many $kind:ident, $tag:expr, $field:expr) => {
        prost::encoding::$kind::encoded_len_repeated($tag, $field)
    };
}

message! {
    /// A whole file.
    ModelProto {
        ir_version: i64 = 1 one int64,
        producer_name: String = 2 one string,
        producer_version: String = 3 one string,
        doc_string: String = 6 one string,
        graph: Option<GraphProto> = 7 maybe message,
        opset_import: Vec<OperatorSetIdProto> = 8 many message,
        metadata_props: Vec<StringStringEntryProto> = 14 many message,
    }
    /// The version of a set of ops; the domain of the standard one is empty.
    OperatorSetIdProto {
        domain: String = 1 one string,
        version: i64 = 2 one int64,
    }
    /// An entry of the metadata.
    StringStringEntryProto {
        key: String = 1 one string,
        value: String = 2 one string,
    }
    /// Nodes in an order in which they can run, and constants.
    GraphProto {
        node: Vec<NodeProto> = 1 many message,
        name: String = 2 one string,
        initializer: Vec<TensorProto> = 5 many message,
        input: Vec<ValueInfoProto> = 11 many message,
        output: Vec<ValueInfoProto> = 12 many message,
    }
    /// One op.
    NodeProto {
        input: Vec<String> = 1 many string,
        output: Vec<String> = 2 many string,
        name: String = 3 one string,
        op_type: String = 4 one string,
        attribute: Vec<AttributeProto> = 5 many message,
        domain: String = 7 one string,
    }
    /// An attribute of an op.
    AttributeProto {
        name: String = 1 one string,
        f: f32 = 2 one float,
        i: i64 = 3 one int64,
        s: Vec<u8> = 4 one bytes,
        t: Option<TensorProto> = 5 maybe message,
        floats: Vec<f32> = 7 many float,
        ints: Vec<i64> = 8 many int64,
        /// 1 float, 2 int, 3 string, 4 tensor, 6 floats, 7 ints.
        kind: i32 = 20 one int32,
    }
    /// A constant.
    TensorProto {
        dims: Vec<i64> = 1 many int64,
        data_type: i32 = 2 one int32,
        float_data: Vec<f32> = 4 many float,
        int64_data: Vec<i64> = 7 many int64,
        name: String = 8 one string,
        raw_data: Vec<u8> = 9 one bytes,
        /// 1: the values are in another file.
        data_location: i32 = 14 one int32,
    }
    /// An input or output.
    ValueInfoProto {
        name: String = 1 one string,
        kind: Option<TypeProto> = 2 maybe message,
        doc_string: String = 3 one string,
    }
    /// Its type.
    TypeProto {
        tensor_type: Option<TensorTypeProto> = 1 maybe message,
    }
    /// The type of a tensor.
    TensorTypeProto {
        elem_type: i32 = 1 one int32,
        shape: Option<TensorShapeProto> = 2 maybe message,
    }
    /// Its extents.
    TensorShapeProto {
        dim: Vec<DimensionProto> = 1 many message,
    }
    /// An extent: a number, or a name where it is free.
    DimensionProto {
        dim_value: Option<i64> = 1 maybe int64,
        dim_param: Option<String> = 2 maybe string,
    }
}

/// Types of elements, by ONNX's numbers.
pub mod element {
    /// f32.
    pub const FLOAT: i32 = 1;
    /// u8.
    pub const UINT8: i32 = 2;
    /// u16.
    pub const UINT16: i32 = 4;
    /// i64.
    pub const INT64: i32 = 7;
    /// One byte, 0 or 1.
    pub const BOOL: i32 = 9;
}
