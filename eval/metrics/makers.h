#pragma once

#include "eval/metrics/metric.h"

/// MetricInfo::make of every metric, by the file that has it.
namespace tenon::eval {

using MakeScorer = Result<std::unique_ptr<Scorer>>(std::span<const Record> records, const MetricOptions& options);

// classes.cpp
MakeScorer make_accuracy, make_top_k_accuracy, make_precision, make_recall, make_f1, make_matthews_correlation, make_confusion_matrix;
// probabilities.cpp
MakeScorer make_roc_auc, make_log_loss, make_expected_calibration_error;
// entities.cpp
MakeScorer make_seqeval;
// translation.cpp
MakeScorer make_bleu, make_chrf, make_meteor;
// texts.cpp
MakeScorer make_rouge1, make_rouge2, make_rouge_l, make_exact_match, make_squad_f1, make_wer, make_cer, make_perplexity;
// boxes.cpp
MakeScorer make_coco_map;
// images.cpp
MakeScorer make_mean_iou, make_dice, make_psnr, make_ssim;
// values.cpp
MakeScorer make_mse, make_rmse, make_mae, make_r2, make_pearsonr, make_spearmanr, make_cosine_similarity, make_kl_divergence;

}  // namespace tenon::eval
