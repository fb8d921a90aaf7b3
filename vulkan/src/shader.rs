//! The compute shaders, compiled from `shaders/` (see `compiler/`).

macro_rules! shaders {
    ($($variant:ident = $file:literal),* $(,)?) => {
        /// A compute shader.
        #[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
        pub(crate) enum Shader { $($variant),* }

        impl Shader {
            /// File name, for messages and object names.
            pub fn name(self) -> &'static str { match self { $(Shader::$variant => $file),* } }
            fn generic(self) -> &'static [u8] {
                match self { $(Shader::$variant => include_bytes!(concat!("../spirv/", $file, ".spv"))),* }
            }
            fn fast(self) -> &'static [u8] {
                match self { $(Shader::$variant => include_bytes!(concat!("../spirv/", $file, ".fast.spv"))),* }
            }
            #[cfg(test)]
            pub const ALL: &[Shader] = &[$(Shader::$variant),*];
        }
    };
}

shaders! {
    Activate = "activate",
    ActivateDx = "activate_dx",
    Adam = "adam",
    Add = "add",
    Attention = "attention",
    AttentionDx = "attention_dx",
    AttentionLse = "attention_lse",
    BatchMean = "batch_mean",
    BatchMeanDx = "batch_mean_dx",
    BatchMix = "batch_mix",
    BatchMixDx = "batch_mix_dx",
    BatchNorm = "batch_norm",
    BatchNormDgamma = "batch_norm_dgamma",
    BatchNormDstats = "batch_norm_dstats",
    BatchNormDx = "batch_norm_dx",
    BatchStats = "batch_stats",
    BatchStatsDx = "batch_stats_dx",
    CellHinge = "cell_hinge",
    CellHingeDn = "cell_hinge_dn",
    ChannelSum = "channel_sum",
    Concat = "concat",
    Conv2d = "conv2d",
    Conv2dDirect = "conv2d_direct",
    Conv2dDw = "conv2d_dw",
    Conv2dDwDirect = "conv2d_dw_direct",
    Conv2dDx = "conv2d_dx",
    Conv2dDxDirect = "conv2d_dx_direct",
    Cosine = "cosine",
    CosineDx = "cosine_dx",
    Coupling = "coupling",
    CouplingDst = "coupling_dst",
    CouplingDx = "coupling_dx",
    Embed = "embed",
    FlowNll = "flow_nll",
    FlowNllDj = "flow_nll_dj",
    FlowNllDz = "flow_nll_dz",
    GlobalMean = "global_mean",
    GlobalMeanDx = "global_mean_dx",
    LayerNorm = "layer_norm",
    LayerNormDx = "layer_norm_dx",
    Linear = "linear",
    LinearDw = "linear_dw",
    LinearDx = "linear_dx",
    LogDet = "log_det",
    LogDetDst = "log_det_dst",
    LogScale = "log_scale",
    LogScaleDscale = "log_scale_dscale",
    Magnitude = "magnitude",
    MagnitudeDx = "magnitude_dx",
    MaxPool = "max_pool",
    MaxPoolDx = "max_pool_dx",
    Multiply = "multiply",
    Nearest = "nearest",
    NearestDx = "nearest_dx",
    Permute = "permute",
    PositionLinear = "position_linear",
    PositionLinearDx = "position_linear_dx",
    Repeat = "repeat",
    Resize = "resize",
    ResizeDx = "resize_dx",
    Root = "root",
    RootDx = "root_dx",
    Scale = "scale",
    ScaleShift = "scale_shift",
    ScaleShiftDscale = "scale_shift_dscale",
    ScaleShiftDx = "scale_shift_dx",
    Slice = "slice",
    Smooth = "smooth",
    SmoothDx = "smooth_dx",
    SquareParts = "square_parts",
    SquareSum = "square_sum",
    SquareSumDx = "square_sum_dx",
    TopMean = "top_mean",
    TopMeanDx = "top_mean_dx",
    Triplet = "triplet",
    TripletDcos = "triplet_dcos",
}

/// How a shader was compiled.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub(crate) enum Variant {
    /// For every device.
    Generic,
    /// With 16-bit storage and sums over subgroups.
    Fast,
    /// With cooperative matrices besides.
    Matrix,
}

impl Shader {
    /// Whether there is a variant for cooperative matrices.
    pub fn has_matrix(self) -> bool {
        matches!(self, Shader::Conv2d | Shader::Linear)
    }

    /// SPIR-V words.
    pub fn words(self, variant: Variant) -> Vec<u32> {
        let bytes: &[u8] = match (variant, self) {
            (Variant::Generic, _) => self.generic(),
            (Variant::Matrix, Shader::Conv2d) => include_bytes!("../spirv/conv2d.matrix.spv"),
            (Variant::Matrix, Shader::Linear) => include_bytes!("../spirv/linear.matrix.spv"),
            (Variant::Fast | Variant::Matrix, _) => self.fast(),
        };
        bytes.as_chunks::<4>().0.iter().map(|w| u32::from_le_bytes(*w)).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_shader_is_spirv() {
        for shader in Shader::ALL {
            for variant in [Variant::Generic, Variant::Fast, Variant::Matrix] {
                assert_eq!(shader.words(variant).first(), Some(&0x0723_0203), "{} {variant:?}", shader.name());
            }
        }
    }
}
