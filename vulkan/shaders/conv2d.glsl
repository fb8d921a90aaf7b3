// Geometry of convolutions. The kernel's sides and steps are constants, so that the divisions by them fold.
layout(constant_id = 6) const uint KH = 1;
layout(constant_id = 7) const uint KW = 1;
layout(constant_id = 8) const uint STRIDE = 1;
layout(constant_id = 9) const uint DILATION = 1;
