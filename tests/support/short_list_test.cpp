#include "support/short_list.h"

#include <algorithm>
#include <list>
#include <random>

#include <gtest/gtest.h>

namespace tenon {
namespace {

using List = ShortList<int, 3>;

/// Whether the elements lie in the object.
bool near(const List& list) {
  const auto *data = reinterpret_cast<const std::byte*>(list.data()), *object = reinterpret_cast<const std::byte*>(&list);
  return data >= object && data < object + sizeof(List);
}

std::vector<int> counted(int size) {
  std::vector<int> out;
  for (int i = 0; i < size; ++i) out.push_back(i * 7 - 3);
  return out;
}

TEST(ShortList, HoldsWhatItIsGiven) {
  for (int size = 0; size <= 9; ++size) {
    const std::vector<int> values = counted(size);
    const List list = values;
    EXPECT_EQ(list.size(), values.size());
    EXPECT_EQ(list.empty(), size == 0);
    EXPECT_EQ(near(list), size <= 3);
    EXPECT_EQ(std::vector<int>(list), values);
    EXPECT_TRUE(std::equal(list.begin(), list.end(), values.begin(), values.end()));
    if (size > 0) {
      EXPECT_EQ(std::pair(list.front(), list.back()), std::pair(values.front(), values.back()));
    }
  }
  EXPECT_EQ(std::vector<int>(List{4, 5}), (std::vector<int>{4, 5}));
}

TEST(ShortList, CopiesAndMovesBetweenListsOfAnySize) {
  for (int from = 0; from <= 8; ++from)
    for (int to = 0; to <= 8; ++to) {
      SCOPED_TRACE(testing::Message() << from << " to " << to);
      const std::vector<int> values = counted(from);
      List source = values, copy = counted(to), moved = counted(to);
      copy = source;
      EXPECT_EQ(copy, source);
      if (from > 0) {
        copy[0] = 1000;
        EXPECT_EQ(source[0], values[0]);  // memory of its own
        copy[0] = values[0];
      }
      const int* const data = source.data();
      moved = std::move(source);
      EXPECT_EQ(moved, copy);
      EXPECT_EQ(!near(moved), moved.data() == data);  // what lies elsewhere changes hands
      EXPECT_TRUE(source.empty() && near(source));    // NOLINT: as the class promises
      source.push_back(5);
      EXPECT_EQ(std::vector<int>(source), std::vector<int>{5});
      const List constructed = std::move(moved), again = constructed;
      EXPECT_EQ(constructed, copy);
      EXPECT_EQ(again, copy);
    }
}

TEST(ShortList, AssignsItselfToItself) {
  for (const int size : {2, 6}) {
    List list = counted(size);
    List& same = list;
    list = same;
    EXPECT_EQ(std::vector<int>(list), counted(size));
    list = std::move(same);
    EXPECT_EQ(std::vector<int>(list), counted(size));
  }
}

TEST(ShortList, AnElementOfItsOwnMayBeAppended) {
  List list = {1, 2, 3};
  for (int i = 0; i < 20; ++i) list.push_back(list.front());
  EXPECT_EQ(std::count(list.begin(), list.end(), 1), 21);
}

TEST(ShortList, EqualityIsThatOfTheElements) {
  List grown = counted(9), shrunk = counted(9);
  grown.clear();
  grown.assign(shrunk.begin(), shrunk.begin() + 2);
  EXPECT_EQ(grown, List(counted(2)));  // wherever they lie
  EXPECT_FALSE(grown == List(counted(3)));
  EXPECT_FALSE(grown == (List{-3, 5}));
}

// Against std::vector, by random operations.
TEST(ShortList, DoesWhatAVectorDoes) {
  std::mt19937 random(1);
  List list;
  std::vector<int> vector;
  for (int step = 0; step < 20000; ++step) {
    const auto at = static_cast<std::ptrdiff_t>(random() % (vector.size() + 1));
    const std::vector<int> values = counted(static_cast<int>(random() % 6));
    switch (random() % 8) {
      case 0:
        list.clear(), vector.clear();
        break;
      case 1:
        list.assign(values.begin(), values.end()), vector = values;
        break;
      case 2: {
        const std::list<int> linked(values.begin(), values.end());  // iterators that are no pointers
        list.insert(list.begin() + at, linked.begin(), linked.end()), vector.insert(vector.begin() + at, values.begin(), values.end());
        break;
      }
      case 3:
        list.insert(list.begin() + at, {step, -step}), vector.insert(vector.begin() + at, {step, -step});
        break;
      case 4:
        if (!vector.empty()) list.back() = vector.back() = step;
        break;
      default:
        list.push_back(step), vector.push_back(step);
    }
    ASSERT_EQ(std::vector<int>(list), vector) << "step " << step;
  }
}

}  // namespace
}  // namespace tenon
