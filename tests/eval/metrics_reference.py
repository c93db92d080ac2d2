"""Writes metrics_reference.json: records, and what other implementations make of them.

    python3 metrics_reference.py > metrics_reference.json

needs numpy, SciPy, scikit-learn, scikit-image, NLTK, sacreBLEU, seqeval and pycocotools. What none of them has is worked out here from
its definition, in the slow and obvious way. The texts are of words drawn at random.
"""

import collections
import contextlib
import json
import math
import random
import re
import string
import sys

import nltk
import numpy as np
import sacrebleu
import scipy.stats
import seqeval.metrics
import skimage.metrics
import sklearn.metrics as sk
from nltk.stem.porter import PorterStemmer
from nltk.tokenize import wordpunct_tokenize
from nltk.translate.meteor_score import meteor_score
from pycocotools.cocoeval import COCOeval

rng = random.Random(20240)
records, cases = {}, []


def add_records(name, kind, outcomes):
    records[name] = [{"index": i, "source": "", kind: o} for i, o in enumerate(outcomes)]


def case(metric, name, value, by, details=None, **options):
    cases.append({"metric": metric, "records": name, "value": float(value), "by": by, "details": details or {}, "options": options})


# ---- Classes


def softmax(scores):
    e = np.exp(scores - np.max(scores))
    return e / e.sum()


def class_outcome(label, probabilities):
    p = [float(np.float32(v)) for v in probabilities]
    predicted = int(np.argmax(p))
    rank = sum(v >= p[label] for v in p) - 1
    return {"label": label, "predicted": predicted, "rank": rank, "probability": p[label], "confidence": p[predicted], "probabilities": p}


def top_k(items, k):
    return sum(o["rank"] < k for o in items) / len(items)


def calibration_error(items, bins):
    confidence = np.array([o["confidence"] for o in items])
    right = np.array([o["label"] == o["predicted"] for o in items], dtype=float)
    total = 0
    for b in range(bins):
        inside = (confidence > b / bins) & (confidence <= (b + 1) / bins)
        if inside.any():
            total += inside.mean() * abs(right[inside].mean() - confidence[inside].mean())
    return total


def auc_by_pairs(labels, scores):
    good = [s for l, s in zip(labels, scores) if l]
    bad = [s for l, s in zip(labels, scores) if not l]
    return sum((a > b) + 0.5 * (a == b) for a in good for b in bad) / (len(good) * len(bad))


def classes(name, count, number, skew, digits):
    items = []
    for _ in range(count):
        label = min(int(rng.random() ** skew * number), number - 1)
        scores = np.array([rng.gauss(0, 1) for _ in range(number)])
        scores[label] += 1.2
        probabilities = softmax(np.round(scores, digits))  # few digits give ties
        items.append(class_outcome(label, probabilities))
    add_records(name, "class", items)
    y, p = [o["label"] for o in items], [o["predicted"] for o in items]
    case("accuracy", name, sk.accuracy_score(y, p), "scikit-learn accuracy_score")
    for average in ("micro", "macro", "weighted") + (("binary",) if number == 2 else ()):
        case("precision", name, sk.precision_score(y, p, average=average, zero_division=0), "scikit-learn precision_score", average=average)
        case("recall", name, sk.recall_score(y, p, average=average, zero_division=0), "scikit-learn recall_score", average=average)
        case("f1", name, sk.f1_score(y, p, average=average, zero_division=0), "scikit-learn f1_score", average=average)
    case("matthews_correlation", name, sk.matthews_corrcoef(y, p), "scikit-learn matthews_corrcoef")
    case("confusion_matrix", name, sk.accuracy_score(y, p), "scikit-learn confusion_matrix", {"matrix": sk.confusion_matrix(y, p).tolist()})
    case("log_loss", name, np.mean([-math.log(o["probability"]) for o in items]), "the definition")
    for k in (1, 2, 3):
        case("top_k_accuracy", name, top_k(items, k), "the definition", k=k)
    for bins in (10, 15):
        case("expected_calibration_error", name, calibration_error(items, bins), "the definition", bins=bins)
    scores = np.array([o["probabilities"] for o in items])
    one = [auc_by_pairs([l == c for l in y], scores[:, c]) for c in range(number)]
    if number == 2:
        case("roc_auc", name, sk.roc_auc_score(y, scores[:, 1]), "scikit-learn roc_auc_score")
        case("roc_auc", name, one[1], "pairs counted")
    else:
        scores = scores / scores.sum(axis=1, keepdims=True)
        case("roc_auc", name, sk.roc_auc_score(y, scores, multi_class="ovr", average="macro"), "scikit-learn roc_auc_score, ovr, macro")
        case("roc_auc", name, np.mean(one), "pairs counted")


classes("two classes", 60, 2, 1.5, 1)
classes("five classes", 80, 5, 2, 1)


def tokens():
    tags = ["O", "B-PER", "I-PER", "B-LOC", "I-LOC", "B-ORG", "I-ORG"]
    items, truth, guess = [], [], []
    for _ in range(40):
        labels, predicted = [], []
        for _ in range(rng.randrange(1, 15)):
            label = rng.choice([0, 0, 0, 1, 2, 2, 3, 4, 4, 5, 6])
            labels.append(label if rng.random() > 0.1 else -100)
            predicted.append(label if rng.random() < 0.75 else rng.randrange(7))
        items.append({"labels": labels, "predicted": predicted})
        kept = [(l, p) for l, p in zip(labels, predicted) if l != -100]
        truth.append([tags[l] for l, _ in kept])
        guess.append([tags[p] for _, p in kept])
    add_records("tokens", "tokens", items)
    y, p = sum(truth, []), sum(guess, [])
    case("accuracy", "tokens", sk.accuracy_score(y, p), "scikit-learn accuracy_score")
    case("f1", "tokens", sk.f1_score(y, p, average="macro", zero_division=0), "scikit-learn f1_score", average="macro")
    case("precision", "tokens", sk.precision_score(y, p, average="weighted", zero_division=0), "scikit-learn precision_score", average="weighted")
    case("matthews_correlation", "tokens", sk.matthews_corrcoef(y, p), "scikit-learn matthews_corrcoef")
    case("seqeval", "tokens", seqeval.metrics.f1_score(truth, guess), "seqeval f1_score",
         {"precision": seqeval.metrics.precision_score(truth, guess), "recall": seqeval.metrics.recall_score(truth, guess)}, names=tags)


tokens()

# ---- Texts

WORDS = """river stone running runner quickly happiest national nationally organisation generously the a an of and to in cats flies dying
adjustable replacement hopping fallen electricity formal sensibility relational Łódź naïve Ærø ЖУК жук Ωmega don't e-mail 3,000 2-4 1.5 &amp; &quot;so&quot; U.S.
hello, world! (maybe) [x] "quoted" well-known end. what? semi;colon a/b $5 100% foo_bar — … “hm” 漢字 re-run- 5-a .5 7. x,y""".split()


def sentence(low, high):
    return " ".join(rng.choice(WORDS) for _ in range(rng.randrange(low, high)))


def altered(text, rate):
    out = []
    for word in text.split():
        r = rng.random()
        if r < rate / 3:
            continue
        out.append(rng.choice(WORDS) if r < 2 * rate / 3 else word)
        if r > 1 - rate / 3:
            out.append(rng.choice(WORDS))
    if rng.random() < rate and len(out) > 3:
        i = rng.randrange(len(out) - 2)
        out[i], out[i + 2] = out[i + 2], out[i]
    text = " ".join(out)
    return text.upper() if rng.random() < 0.1 else text


class NoSynonyms:
    def synsets(self, word):
        return []


def rouge_words(text, stem):
    words = [w for w in re.sub(r"[^a-z0-9]+", " ", text.lower()).split()]
    return [PorterStemmer().stem(w) if stem and len(w) > 3 else w for w in words]


def f1(both, a, b):
    return 2 * both / (a + b) if both else 0.0


def overlap(a, b):
    return sum((collections.Counter(a) & collections.Counter(b)).values())


def rouge_n(n, prediction, reference):
    grams = lambda words: [tuple(words[i : i + n]) for i in range(len(words) - n + 1)]
    a, b = grams(prediction), grams(reference)
    return f1(overlap(a, b), len(a), len(b))


def rouge_l(a, b):
    table = np.zeros((len(a) + 1, len(b) + 1), dtype=int)
    for i, x in enumerate(a):
        for j, y in enumerate(b):
            table[i + 1, j + 1] = table[i, j] + 1 if x == y else max(table[i, j + 1], table[i + 1, j])
    return f1(int(table[-1, -1]), len(a), len(b))


def squad_words(text):
    text = "".join(c for c in text.lower() if c not in string.punctuation)
    return re.sub(r"\b(a|an|the)\b", " ", text).split()


def texts(name, count, references, low, high, rate):
    items = []
    for _ in range(count):
        reference = sentence(low, high)
        items.append({"predicted": altered(reference, rate), "references": [reference] + [altered(reference, rate) or "x" for _ in range(references - 1)]})
    add_records(name, "text", items)
    predictions = [i["predicted"] for i in items]
    per_reference = [[i["references"][r] for i in items] for r in range(references)]
    bleu = sacrebleu.metrics.BLEU().corpus_score(predictions, per_reference)
    case("bleu", name, bleu.score, "sacreBLEU", {"precisions": bleu.precisions, "brevity_penalty": bleu.bp, "length": bleu.sys_len, "reference_length": bleu.ref_len})
    case("chrf", name, sacrebleu.metrics.CHRF().corpus_score(predictions, per_reference).score, "sacreBLEU")
    best = lambda f, cut: float(np.mean([max(f(cut(i["predicted"]), cut(r)) for r in i["references"]) for i in items]))
    for stem in (False, True):
        cut = lambda text: rouge_words(text, stem)
        case("rouge1", name, best(lambda a, b: rouge_n(1, a, b), cut), "the definition, NLTK PorterStemmer", stemmer=stem)
        case("rouge2", name, best(lambda a, b: rouge_n(2, a, b), cut), "the definition, NLTK PorterStemmer", stemmer=stem)
        case("rougeL", name, best(rouge_l, cut), "the definition, NLTK PorterStemmer", stemmer=stem)
    meteor = [meteor_score([wordpunct_tokenize(r) for r in i["references"]], wordpunct_tokenize(i["predicted"]), wordnet=NoSynonyms()) for i in items]
    case("meteor", name, np.mean(meteor), "NLTK meteor_score without WordNet")
    case("exact_match", name, 100 * best(lambda a, b: float(a == b), squad_words), "the definition of SQuAD v1.1")
    case("squad_f1", name, 100 * best(lambda a, b: f1(overlap(a, b), len(a), len(b)), squad_words), "the definition of SQuAD v1.1")
    for metric, cut in (("wer", str.split), ("cer", lambda text: text.strip())):
        edits, length = 0, 0
        for i in items:
            options = [(nltk.edit_distance(cut(i["predicted"]), cut(r)), len(cut(r))) for r in i["references"]]
            e, n = min(options, key=lambda o: o[0] / o[1])
            edits, length = edits + e, length + n
        case(metric, name, edits / length, "NLTK edit_distance")


texts("sentences", 30, 1, 4, 25, 0.3)
texts("sentences with three references", 20, 3, 5, 20, 0.6)
texts("answers", 40, 2, 1, 4, 0.5)
texts("long texts", 2, 1, 80, 160, 0.3)

# ---- Values


def values(name, count, width, digits, offset):
    items = []
    for _ in range(count):
        target = [round(rng.gauss(0, 1), digits) + offset for _ in range(width)]
        items.append({"predicted": [round(t + rng.gauss(0, 0.7), digits) for t in target], "target": target})
    add_records(name, "values", items)
    t = np.array([v for i in items for v in i["target"]])
    p = np.array([v for i in items for v in i["predicted"]])
    case("mse", name, sk.mean_squared_error(t, p), "scikit-learn mean_squared_error")
    case("rmse", name, sk.mean_squared_error(t, p, squared=False), "scikit-learn mean_squared_error")
    case("mae", name, sk.mean_absolute_error(t, p), "scikit-learn mean_absolute_error")
    case("r2", name, sk.r2_score(t, p), "scikit-learn r2_score")
    case("pearsonr", name, scipy.stats.pearsonr(t, p)[0], "scipy.stats.pearsonr")
    case("spearmanr", name, scipy.stats.spearmanr(t, p)[0], "scipy.stats.spearmanr")
    cosines = [sk.pairwise.cosine_similarity([i["predicted"]], [i["target"]])[0, 0] for i in items]
    case("cosine_similarity", name, np.mean(cosines), "scikit-learn cosine_similarity")


values("numbers", 50, 1, 1, 0)
values("vectors", 20, 8, 3, 0)
values("numbers far from 0", 60, 1, 2, 1e6)


def distributions():
    items = []
    for _ in range(25):
        items.append({"predicted": [round(rng.random() + 0.01, 3) for _ in range(6)], "target": [round(max(rng.random() - 0.2, 0), 3) for _ in range(5)] + [0.5]})
    add_records("distributions", "values", items)
    case("kl_divergence", "distributions", np.mean([scipy.stats.entropy(i["target"], i["predicted"]) for i in items]), "scipy.stats.entropy")
    nll = [{"nll": round(rng.random() * 100, 3), "tokens": rng.randrange(1, 40)} for _ in range(20)]
    add_records("likelihoods", "likelihood", nll)
    case("perplexity", "likelihoods", math.exp(sum(i["nll"] for i in nll) / sum(i["tokens"] for i in nll)), "the definition")


distributions()

# ---- Pixels and images


def pixels():
    items, number, truth, guess = [], 6, [], []
    for _ in range(8):
        label = np.array([rng.choice([0, 0, 1, 2, 4]) for _ in range(400)])
        predicted = np.where(np.array([rng.random() for _ in label]) < 0.7, label, [rng.choice([0, 1, 2, 3]) for _ in label])
        matrix = np.zeros((number, number), dtype=int)
        for l, p in zip(label, predicted):
            matrix[l, p] += 1
        items.append({"classes": number, "confusion": matrix.flatten().tolist()})
        truth, guess = truth + label.tolist(), guess + predicted.tolist()
    add_records("segmentations", "pixels", items)
    case("mean_iou", "segmentations", sk.jaccard_score(truth, guess, average="macro"), "scikit-learn jaccard_score, macro")
    case("dice", "segmentations", sk.f1_score(truth, guess, average="macro"), "scikit-learn f1_score, macro", {"pixel_accuracy": sk.accuracy_score(truth, guess)})


pixels()


def pictures():
    out, outcomes = [], []
    for height, width, channels, peak in ((11, 11, 1, 255), (24, 31, 1, 255), (40, 17, 3, 255), (16, 50, 2, 1)):
        y, x, c = np.meshgrid(np.arange(height), np.arange(width), np.arange(channels), indexing="ij")
        a = ((37 * x + 91 * y + 13 * x * y + 50 * c) % 256).astype(float)
        b = np.clip(a + (11 * x + 7 * y + 5 * c) % 41 - 20, 0, 255)
        if peak == 1:
            a, b = a / 256, b / 256
        similarity = skimage.metrics.structural_similarity(a, b, data_range=peak, channel_axis=2, gaussian_weights=True, sigma=1.5, use_sample_covariance=False)
        mse = skimage.metrics.mean_squared_error(a, b)
        out.append({"height": height, "width": width, "channels": channels, "peak": peak, "ssim": similarity, "mse": mse})
        outcomes.append({"mse": mse, "ssim": similarity, "peak": peak})
        outcomes[-1]["psnr"] = skimage.metrics.peak_signal_noise_ratio(a, b, data_range=peak)
    psnr = np.mean([o.pop("psnr") for o in outcomes])
    add_records("pictures", "image", outcomes)
    case("psnr", "pictures", psnr, "scikit-image peak_signal_noise_ratio")
    case("ssim", "pictures", np.mean([o["ssim"] for o in outcomes]), "scikit-image structural_similarity")
    return out


image_pairs = pictures()

# ---- Boxes


class Annotations:
    """What COCOeval asks of a pycocotools.coco.COCO."""

    def __init__(self, annotations, images, categories):
        self.annotations, self.images, self.categories = annotations, images, categories

    def getImgIds(self):
        return self.images

    def getCatIds(self):
        return self.categories

    def getAnnIds(self, imgIds=[], catIds=[]):
        return [a["id"] for a in self.annotations if a["image_id"] in imgIds and a["category_id"] in catIds]

    def loadAnns(self, ids):
        wanted = set(ids)
        return [dict(a) for a in self.annotations if a["id"] in wanted]


def boxes(name, images, categories, most, score_digits):
    items, truths, found = [], [], []
    for image in range(images):
        item = {"detections": [], "truths": []}
        for _ in range(rng.randrange(0, most)):
            size = rng.choice([12, 40, 150])
            x, y = rng.randrange(0, 300), rng.randrange(0, 300)
            w, h = size + rng.randrange(0, 20), size + rng.randrange(0, 20)
            truth = {"box": [x, y, x + w, y + h], "label": rng.randrange(categories)}
            if rng.random() < 0.15:
                truth["crowd"] = True
            if rng.random() < 0.3:
                truth["area"] = w * h * 0.8
            item["truths"].append(truth)
            for _ in range(rng.choice([0, 1, 1, 1, 2])):
                shift = [rng.gauss(0, size / 12) for _ in range(4)]
                box = [round(v + s, 2) for v, s in zip(truth["box"], shift)]
                label = truth["label"] if rng.random() < 0.9 else rng.randrange(categories + 1)
                if box[2] > box[0] and box[3] > box[1]:
                    item["detections"].append({"box": box, "label": label, "score": round(rng.random(), score_digits)})
        for _ in range(rng.randrange(0, 4)):
            x, y, s = rng.randrange(0, 400), rng.randrange(0, 400), rng.randrange(5, 120)
            item["detections"].append({"box": [x, y, x + s, y + s], "label": rng.randrange(categories), "score": round(rng.random() * 0.7, score_digits)})
        items.append(item)
        for t in item["truths"]:
            b = t["box"]
            truths.append({"id": len(truths) + 1, "image_id": image, "category_id": t["label"], "bbox": [b[0], b[1], b[2] - b[0], b[3] - b[1]],
                           "area": t.get("area", (b[2] - b[0]) * (b[3] - b[1])), "iscrowd": int(t.get("crowd", False)), "ignore": 0})
        for d in item["detections"]:
            b = d["box"]
            found.append({"id": len(found) + 1, "image_id": image, "category_id": d["label"], "bbox": [b[0], b[1], b[2] - b[0], b[3] - b[1]],
                          "area": (b[2] - b[0]) * (b[3] - b[1]), "score": d["score"], "iscrowd": 0})
    add_records(name, "boxes", items)
    ids = list(range(images))
    labels = sorted({t["category_id"] for t in truths})
    evaluation = COCOeval(Annotations(truths, ids, labels), Annotations(found, ids, labels), "bbox")
    with contextlib.redirect_stdout(sys.stderr):
        evaluation.evaluate()
        evaluation.accumulate()
    precision, recall = evaluation.eval["precision"], evaluation.eval["recall"]
    mean = lambda values: float(np.mean(values[values > -1])) if (values > -1).any() else math.nan
    areas = {"": 0, "_small": 1, "_medium": 2, "_large": 3}
    details = {"ap" + suffix: mean(precision[:, :, :, a, 2]) for suffix, a in areas.items()}
    details |= {"ar" + suffix: mean(recall[:, :, a, 2]) for suffix, a in areas.items()}
    details |= {"ap50": mean(precision[0, :, :, 0, 2]), "ap75": mean(precision[5, :, :, 0, 2])}
    case("coco_map", name, details["ap"], "pycocotools COCOeval", details)


boxes("boxes", 12, 4, 9, 4)
boxes("boxes with equal scores", 10, 2, 12, 1)
boxes("crowded images", 2, 1, 140, 3)

# ---- Parts


def stems():
    roots = ["a", "tr", "oa", "hop", "fil", "rat", "conflat", "siz", "tann", "fall", "agre", "fe", "happ", "sk", "relat", "condit", "val", "digit", "conform", "radic", "differ", "vile",
             "analog", "vietnam", "predic", "oper", "feud", "decis", "hope", "call", "form", "sensit", "sensib", "tripl", "electr", "good", "reviv", "allow", "infer", "airlin", "gyroscop",
             "adjust", "defens", "irrit", "replac", "depend", "adopt", "commun", "activ", "angular", "effect", "bowdler", "prob", "ceas", "contro", "ro", "geo", "theo", "syzyg", "toy"]
    endings = ["", "s", "ies", "sses", "ed", "eed", "ing", "y", "ly", "ational", "tional", "enci", "anci", "izer", "bli", "abli", "alli", "entli", "eli", "ousli", "ization", "ation", "ator",
               "alism", "iveness", "fulness", "ousness", "aliti", "iviti", "biliti", "fulli", "logi", "icate", "ative", "alize", "iciti", "ical", "ful", "ness", "al", "ance", "er", "able",
               "ement", "ment", "ent", "sion", "tion", "ion", "ou", "ism", "ate", "iti", "ous", "ive", "ize", "e", "ll", "ied", "ying"]
    words = {root + rng.choice(["", "", "t", "l"]) + ending for root in roots for ending in rng.sample(endings, 12)}
    words |= {"sky", "skies", "dying", "lying", "tying", "news", "innings", "inning", "outings", "outing", "cannings", "canning", "howe", "proceed", "exceed", "succeed", "die", "dies", "flies",
              "spied", "died", "enjoy", "by", "yy", "syzygy", "yes", "ion", "sses", "ing", "ed"}
    return {w: PorterStemmer().stem(w) for w in sorted(words)}


def mcnemar():
    out = []
    for b, c in ((0, 0), (1, 0), (3, 9), (10, 10), (2, 22), (5, 20), (13, 12), (40, 61), (121, 59)):
        if b + c < 25:
            p = scipy.stats.binomtest(min(b, c), b + c, 0.5).pvalue if b + c else 1.0
            out.append({"first": b, "second": c, "statistic": min(b, c), "p": p})
        else:
            statistic = max(abs(b - c) - 1, 0) ** 2 / (b + c)
            out.append({"first": b, "second": c, "statistic": statistic, "p": scipy.stats.chi2.sf(statistic, 1)})
    return out


def tokenized():
    tokenizer = sacrebleu.metrics.BLEU().tokenizer
    lines = [sentence(1, 8) for _ in range(30)] + ["", " ", "a.b.c,.d", "1.5.6-7--8", "x..,", "&amp;lt; &lt;", "end-\nline\nnext", "<skipped>yes", "9-", ".", ",5,", "ende\u00a0dort"]
    return [{"text": line, "tokens": tokenizer(line.rstrip()).split()} for line in lines]


def write():
    out = {"cases": cases, "pictures": image_pairs, "stems": stems(), "mcnemar": mcnemar(), "tokens_13a": tokenized()}
    body = [f'"{key}": {json.dumps(value, ensure_ascii=False)}' for key, value in out.items()]
    lines = [f'"{name}": [\n' + ",\n".join(json.dumps(r, ensure_ascii=False) for r in rows) + "]" for name, rows in records.items()]
    print("{" + ",\n".join(body) + ',\n"records": {' + ",\n".join(lines) + "}}")


if __name__ == "__main__":
    write()
