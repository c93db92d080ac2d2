#include <algorithm>

#include <fmt/format.h>

#include "eval/metrics/makers.h"

namespace tenon::eval {
namespace {

constexpr bool kHigher = true, kLower = false;
constexpr bool kEvery = true, kOne = false;  // probabilities of every class, or none beyond the outcome's own

constexpr MetricInfo kMetrics[] = {
    {"accuracy", "Accuracy", "class", "tokens", kHigher, kOne, "right / all", "scikit-learn accuracy_score", make_accuracy},
    {"top_k_accuracy", "Top-k accuracy", "class", "", kHigher, kOne,
     "records whose label is among the k best scores / all; ties count against it; k is 5 by default", "scikit-learn top_k_accuracy_score",
     make_top_k_accuracy},
    {"precision", "Precision", "class", "tokens", kHigher, kOne, "of a class: right / predicted, 0 when none is; averaged",
     "scikit-learn precision_score", make_precision},
    {"recall", "Recall", "class", "tokens", kHigher, kOne, "of a class: right / labelled, 0 when none is; averaged",
     "scikit-learn recall_score", make_recall},
    {"f1", "F1", "class", "tokens", kHigher, kOne, "of a class: 2 right / (predicted + labelled); averaged", "scikit-learn f1_score",
     make_f1},
    {"matthews_correlation", "Matthews correlation", "class", "tokens", kHigher, kOne,
     "(c s - sum_k p_k t_k) / sqrt((s² - sum p_k²)(s² - sum t_k²)); c right of s, class k predicted p_k and labelled t_k times; 0 when the "
     "root is",
     "Gorodkin 2004; scikit-learn matthews_corrcoef", make_matthews_correlation},
    {"confusion_matrix", "Confusion matrix", "class", "tokens", kHigher, kOne,
     "trace / sum; the matrix, labels by predictions, is in the details", "scikit-learn confusion_matrix", make_confusion_matrix},
    {"roc_auc", "ROC AUC", "class", "", kHigher, kEvery,
     "share of pairs of a record of the class and one of the others that the score orders, ties half; two classes: the second's; more: "
     "mean over classes, each against the rest",
     "Hanley and McNeil 1982; scikit-learn roc_auc_score, multi_class='ovr', average='macro'", make_roc_auc},
    {"log_loss", "Log loss", "class", "", kLower, kOne, "mean of -ln p(label), p within 2^-52 of 0 and 1", "scikit-learn log_loss",
     make_log_loss},
    {"expected_calibration_error", "Expected calibration error", "class", "", kLower, kOne,
     "sum over bins of |records in it| / all · |accuracy - mean confidence|; bins ((b - 1) / B, b / B], B is 15 by default",
     "Guo et al. 2017", make_expected_calibration_error},
    {"seqeval", "Entity F1", "tokens", "", kHigher, kOne,
     "2 right / (predicted + labelled) entities; right: the same type and tokens; tags as conlleval reads them",
     "Tjong Kim Sang and Buchholz 2000; seqeval f1_score, average='micro'", make_seqeval},
    {"bleu", "BLEU", "text", "", kHigher, kOne,
     "100 · brevity penalty · exp(mean of ln precision of 1- to 4-grams over the corpus); tokenizer 13a, exponential smoothing",
     "Papineni et al. 2002; sacreBLEU (Post 2018), tok:13a smooth:exp", make_bleu},
    {"chrf", "chrF2", "text", "", kHigher, kOne,
     "100 · F2 of mean precision and recall of character 1- to 6-grams over the corpus, without white space",
     "Popović 2015; sacreBLEU, nc:6 nw:0 space:no", make_chrf},
    {"rouge1", "ROUGE-1", "text", "", kHigher, kOne, "mean over records of F1 of words, the best reference's; lower case, a-z and 0-9",
     "Lin 2004; rouge_score", make_rouge1},
    {"rouge2", "ROUGE-2", "text", "", kHigher, kOne, "as rouge1, of pairs of words", "Lin 2004; rouge_score", make_rouge2},
    {"rougeL", "ROUGE-L", "text", "", kHigher, kOne, "as rouge1, of the longest common subsequence of words", "Lin 2004; rouge_score",
     make_rouge_l},
    {"meteor", "METEOR", "text", "", kHigher, kOne,
     "mean over records of P R / (0.9 P + 0.1 R) · (1 - 0.5 (chunks / matches)³), the best reference's; words match exactly, then by "
     "Porter stem; no synonyms",
     "Banerjee and Lavie 2005; NLTK meteor_score without WordNet", make_meteor},
    {"perplexity", "Perplexity", "likelihood", "", kLower, kOne, "exp(sum of negative log-likelihood / sum of tokens)",
     "Jelinek et al. 1977", make_perplexity},
    {"exact_match", "Exact match", "text", "", kHigher, kOne,
     "100 · share of records equal to a reference; lower case, without punctuation, articles and surplus white space",
     "SQuAD v1.1 (Rajpurkar et al. 2016)", make_exact_match},
    {"squad_f1", "SQuAD F1", "text", "", kHigher, kOne,
     "100 · mean over records of F1 of words, the best reference's; normalised as for exact_match", "SQuAD v1.1 (Rajpurkar et al. 2016)",
     make_squad_f1},
    {"wer", "Word error rate", "text", "", kLower, kOne,
     "substitutions, deletions and insertions / words of the references, both summed over records", "Levenshtein 1966; jiwer wer",
     make_wer},
    {"cer", "Character error rate", "text", "", kLower, kOne, "as wer, of code points, white space at both ends left out",
     "Levenshtein 1966; jiwer cer", make_cer},
    {"coco_map", "COCO mAP", "boxes", "", kHigher, kOne,
     "mean over classes and IoU 0.50:0.05:0.95 of precision at 101 recalls, 100 detections an image and class; crowds are ignored",
     "Lin et al. 2014; pycocotools COCOeval bbox", make_coco_map},
    {"mean_iou", "Mean IoU", "pixels", "", kHigher, kOne,
     "mean over classes that occur of right / (predicted + labelled - right), pixels summed over records",
     "Everingham et al. 2010; evaluate mean_iou", make_mean_iou},
    {"dice", "Dice", "pixels", "", kHigher, kOne,
     "mean over classes that occur of 2 right / (predicted + labelled), pixels summed over records", "Dice 1945", make_dice},
    {"psnr", "PSNR", "image", "", kHigher, kOne, "mean over images of 10 log10(peak² / MSE), in dB", "scikit-image peak_signal_noise_ratio",
     make_psnr},
    {"ssim", "SSIM", "image", "", kHigher, kOne, "mean over images of the structural similarity, gaussian window 11x11, sigma 1.5",
     "Wang et al. 2004; scikit-image structural_similarity, gaussian_weights=True, use_sample_covariance=False", make_ssim},
    {"mse", "Mean squared error", "values", "", kLower, kOne, "mean of (predicted - target)² over all values",
     "scikit-learn mean_squared_error", make_mse},
    {"rmse", "Root mean squared error", "values", "", kLower, kOne, "sqrt(mse)", "scikit-learn mean_squared_error, squared=False",
     make_rmse},
    {"mae", "Mean absolute error", "values", "", kLower, kOne, "mean of |predicted - target| over all values",
     "scikit-learn mean_absolute_error", make_mae},
    {"r2", "R²", "values", "", kHigher, kOne,
     "1 - sum (predicted - target)² / sum (target - mean target)²; 1 or 0 when all targets are equal", "scikit-learn r2_score", make_r2},
    {"pearsonr", "Pearson correlation", "values", "", kHigher, kOne, "covariance / product of the standard deviations, over all values",
     "scipy.stats.pearsonr", make_pearsonr},
    {"spearmanr", "Spearman correlation", "values", "", kHigher, kOne,
     "Pearson correlation of ranks, equal values sharing the mean of theirs", "scipy.stats.spearmanr", make_spearmanr},
    {"cosine_similarity", "Cosine similarity", "values", "", kHigher, kOne, "mean over records of a · b / (|a| |b|), 0 when one is 0",
     "scikit-learn cosine_similarity", make_cosine_similarity},
    {"kl_divergence", "KL divergence", "values", "", kLower, kOne,
     "mean over records of sum t ln(t / p), target t and predicted p divided by their sums", "scipy.stats.entropy", make_kl_divergence},
};

}  // namespace

std::span<const MetricInfo> metrics() { return kMetrics; }

const MetricInfo* find_metric(std::string_view name) {
  const auto found = std::find_if(std::begin(kMetrics), std::end(kMetrics), [&](const MetricInfo& metric) { return metric.name == name; });
  return found == std::end(kMetrics) ? nullptr : &*found;
}

bool reads(const MetricInfo& metric, std::string_view outcome) {
  return metric.outcome == outcome || (!metric.also.empty() && metric.also == outcome);
}

std::string metric_names(std::string_view outcome) {
  std::vector<std::string_view> names;
  for (const MetricInfo& metric : kMetrics)
    if (outcome.empty() || reads(metric, outcome)) names.push_back(metric.name);
  return fmt::format("{}", fmt::join(names, ", "));
}

std::string metrics_markdown() {
  std::string out = "## All metrics\n\n| metric | reads | better | definition | source |\n| --- | --- | --- | --- | --- |\n";
  for (const MetricInfo& metric : kMetrics) {
    std::string formula;
    for (char c : metric.formula) formula += c == '|' ? "\\|" : std::string(1, c);
    out += fmt::format("| {} | {}{}{} | {} | {} | {} |\n", metric.name, metric.outcome, metric.also.empty() ? "" : ", ", metric.also,
                       metric.higher_is_better ? "higher" : "lower", formula, metric.source);
  }
  return out;
}

}  // namespace tenon::eval
