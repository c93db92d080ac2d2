#pragma once

#include <filesystem>
#include <memory>
#include <string>
#include <vector>

#include "eval/datasets/dataset.h"

/// One function a form of data set. `path` exists; what cannot be one of the form is an error that says what is missing.
namespace tenon::eval {

using DatasetResult = Result<std::unique_ptr<Dataset>>;
namespace paths = std::filesystem;

/// A folder of images or sounds a class; sorted names number the classes, those of the options' file do when there is one.
DatasetResult open_class_folders(const paths::path& folder, const DatasetOptions& options);
/// Images or sounds whose names hold their label where the pattern has {label}; * stands for anything. Whole numbers are the labels
/// themselves, other names are numbered in sorted order.
DatasetResult open_named_files(const paths::path& folder, const DatasetOptions& options);
/// Images or sounds without labels.
DatasetResult open_files(const paths::path& folder, const DatasetOptions& options);
/// images/ and masks/ (also labels/ or annotations/) with files of equal stems.
DatasetResult open_masks(const paths::path& folder, const DatasetOptions& options);
/// A folder of images or sounds with a table of their labels, or that table itself.
DatasetResult open_labelled_files(const paths::path& folder, const DatasetOptions& options);
/// The table of labels in a folder; empty when there is none, or none that stands out.
paths::path find_label_table(const paths::path& folder);

DatasetResult open_table(const paths::path& file, const DatasetOptions& options);
/// `labels` may be empty.
DatasetResult open_idx(const paths::path& images, const paths::path& labels, const DatasetOptions& options);
/// The two IDX files in a folder (*idx3-ubyte* or *idx4-ubyte*, *idx1-ubyte*); empty paths when there are not just two.
std::pair<paths::path, paths::path> find_idx_pair(const paths::path& folder);
DatasetResult open_npz(const paths::path& file, const DatasetOptions& options);
DatasetResult open_test_sets(const paths::path& folder, const DatasetOptions& options);
/// COCO's instances (https://cocodataset.org/#format-data). Classes are the categories by ascending id.
DatasetResult open_coco(const paths::path& images, const paths::path& instances, const DatasetOptions& options);
/// The images and the instances in a folder; empty paths when there are none or several.
std::pair<paths::path, paths::path> find_coco(const paths::path& folder);

}  // namespace tenon::eval
