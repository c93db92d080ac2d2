#pragma once

#include "codegen/schedule/schedule.h"

namespace tenon::codegen {

/// A sum of products of which an output axis o and a reduce axis k select those with (o + c - k) % S = 0, as in a
/// transposed convolution of stride S: o becomes S*q + p and k becomes S*j + (p + c) % S, so that what is left out is
/// never visited (the sub-pixel form of Shi et al. 2016, "Is the deconvolution layer the same as a convolutional
/// layer?"). All such pairs are split whose output axis S divides. Where S
/// does not divide the taps, the weights are rounded up by zeros; if the target allows fewer products that round more (Target::winograd), the
/// image is not told, so that an infinity or NaN of it reaches those taps as well.
void split_phases(Lowering& lowering, int stage);

}  // namespace tenon::codegen
