// SPDX-License-Identifier: Apache-2.0
// Small datasets in the layouts that are published, and the same damaged.
#include "eval/vision_loaders.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "base/error.h"
#include "eval/testing/vision_files.h"
#include "eval/vision_message.h"

namespace fastcache::eval {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using Loader = std::vector<VisionQuestion> (*)(const std::string&);

class VisionLoaders : public ::testing::Test {
 protected:
  void SetUp() override {
    for (const char* name : {"d/pictures/0.png", "d/pictures/1.png", "d/test/images/7.png",
                             "d/images/n12.jpg", "m/Sorting/images/a/1.png", "m/Sorting/images/a/2.png"})
      files_.write(name, "a picture that nobody opens");
  }
  std::vector<VisionQuestion> lines(const std::string& text) {
    files_.write("d/questions.jsonl", text);
    return load_question_lines(files_.path("d"));
  }
  std::vector<VisionQuestion> easy_vqa(const std::string& text) {
    files_.write("d/test/questions.json", text);
    return load_easy_vqa(files_.path("d"));
  }
  std::vector<VisionQuestion> gqa(const std::string& text) {
    files_.write("d/testdev_balanced_questions.json", text);
    return load_gqa(files_.path("d"));
  }
  // One entry of a task.
  std::vector<VisionQuestion> milebench(const std::string& entry) {
    files_.write("m/Sorting/Sorting.json",
                 R"({"meta_data": {"dataset": "Sorting", "question_type": "multi-choice",
                     "task_instruction": ["Not this.", "Look at the pictures."]}, "data": [)" +
                     entry + "]}");
    return load_milebench(files_.path("m"));
  }
  static void expect_error(const std::function<void()>& load, Code code,
                           const std::vector<std::string>& parts) {
    try {
      load();
      ADD_FAILURE() << "loaded; expected: " << parts[0];
    } catch (const Error& error) {
      EXPECT_EQ(error.code(), code) << error.what();
      for (const std::string& part : parts) EXPECT_THAT(error.what(), HasSubstr(part));
    }
  }

  test_support::VisionFiles files_;
};

TEST_F(VisionLoaders, QuestionLines) {
  const auto questions = lines(
      R"({"pictures": ["pictures/0.png", "pictures/1.png"], "before": ["One: ", "\nTwo: "], "kind": "odd",)"
      R"( "question": "Which?", "answer": "picture 2", "cells": [], "unknown": {"x": 1}})"
      "\n\n"
      R"({"pictures": ["pictures/1.png"], "before": [""], "kind": "describe", "question": "All?", "answer": "x"})"
      "\r\n"
      R"({"pictures": ["pictures/1.png"], "before": [""], "kind": "count", "question": "All?", "answer": "a: 1",)"
      R"( "match": "last"})");
  ASSERT_EQ(questions.size(), 3u);
  EXPECT_EQ(questions[0].category, "odd");
  EXPECT_THAT(questions[0].before, ElementsAre("One: ", "\nTwo: "));
  EXPECT_THAT(questions[0].pictures,
              ElementsAre(files_.path("d/pictures/0.png"), files_.path("d/pictures/1.png")));
  EXPECT_EQ(questions[0].question, "\nWhich?");
  EXPECT_EQ(questions[0].answer, "picture 2");
  EXPECT_EQ(questions[0].match, Match::exact);
  EXPECT_EQ(text_of(questions[0]), "One: \nTwo: \nWhich?");
  EXPECT_EQ(questions[1].match, Match::parts);  // scored cell by cell
  EXPECT_THAT(questions[1].source, HasSubstr("questions.jsonl, line 3"));
  EXPECT_EQ(questions[2].match, Match::last);
}

TEST_F(VisionLoaders, DamagedQuestionLines) {
  const auto refused = [&](const std::string& text, Code code, const std::vector<std::string>& parts) {
    expect_error([&] { lines(text); }, code, parts);
  };
  const std::string good =
      R"({"pictures": ["pictures/0.png"], "before": [""], "kind": "cell", "question": "?", "answer": "x"})";
  EXPECT_EQ(lines(good).size(), 1u);
  refused(good + "\n{\"pictures\"", Code::bad_request, {"line 2", "not JSON"});
  refused("[]", Code::bad_request, {"line 1", "must be an object"});
  refused(R"({"kind": "cell", "question": "?"})", Code::bad_request, {"line 1", "no \"answer\""});
  refused(R"({"pictures": "pictures/0.png", "before": [""], "kind": "c", "question": "?", "answer": "x"})",
          Code::bad_request, {"\"pictures\"", "must be a list"});
  refused(R"({"pictures": ["pictures/0.png"], "before": [], "kind": "c", "question": "?", "answer": "x"})",
          Code::bad_request, {"\"before\"", "0 texts for 1 pictures"});
  refused(R"({"pictures": [], "before": [], "kind": "c", "question": "?", "answer": "x"})", Code::bad_request,
          {"at least one picture"});
  refused(R"({"pictures": ["pictures/9.png"], "before": [""], "kind": "c", "question": "?", "answer": "x"})",
          Code::not_found, {"line 1", "there is no picture", "pictures/9.png"});
  for (const char* path : {"../d/pictures/0.png", "/etc/passwd", ""})
    refused(R"({"pictures": [")" + std::string(path) +
                R"("], "before": [""], "kind": "c", "question": "?", "answer": "x"})",
            Code::bad_request, {"must be a path below"});
  refused(good.substr(0, good.size() - 1) + R"(, "match": "first"})", Code::bad_request,
          {"match", "\"last\""});
  refused(R"({"pictures": ["pictures/0.png"], "before": [""], "kind": "c", "question": 7, "answer": "x"})",
          Code::bad_request, {"\"question\"", "must be a text"});
  expect_error([&] { load_question_lines(files_.path("nowhere")); }, Code::not_found, {"questions.jsonl"});
}

TEST_F(VisionLoaders, EasyVqa) {
  const auto questions =
      easy_vqa(R"([["what is the red shape?", "triangle", 7], ["is there a circle", "no", 7]])");
  ASSERT_EQ(questions.size(), 2u);
  EXPECT_EQ(questions[0].category, "open");
  EXPECT_EQ(questions[0].question, "\nWhat is the red shape?");
  EXPECT_THAT(questions[0].pictures, ElementsAre(files_.path("d/test/images/7.png")));
  EXPECT_EQ(questions[1].category, "yes/no");
  EXPECT_EQ(questions[1].question, "\nIs there a circle?");
}

TEST_F(VisionLoaders, DamagedEasyVqa) {
  const auto refused = [&](const std::string& text, Code code, const std::vector<std::string>& parts) {
    expect_error([&] { easy_vqa(text); }, code, parts);
  };
  refused("{", Code::bad_request, {"questions.json", "not JSON"});
  refused(R"({"a": 1})", Code::bad_request, {"must be a list"});
  refused(R"([["what?", "red", 7], ["what?", "red"]])", Code::bad_request, {"element 1", "at least 3"});
  refused(R"([["what?", "red", "7"]])", Code::bad_request, {"element 0, element 2", "whole number"});
  refused(R"([["what?", null, 7]])", Code::bad_request, {"element 1", "must be a text"});
  refused(R"([["what?", "red", 8]])", Code::not_found, {"element 0", "images/8.png"});
}

TEST_F(VisionLoaders, Gqa) {
  const auto questions = gqa(
      R"({"201307251": {"imageId": "n12", "question": "Is it red?", "answer": "no", "fullAnswer": "No, it is.",
          "isBalanced": true, "types": {"structural": "verify", "semantic": "attr", "detailed": "verifyC"}}})");
  ASSERT_EQ(questions.size(), 1u);
  EXPECT_EQ(questions[0].category, "verify");
  EXPECT_EQ(questions[0].match, Match::relaxed);
  EXPECT_EQ(questions[0].question, "\nIs it red?\nAnswer the question using a single word or phrase.");
  EXPECT_THAT(questions[0].pictures, ElementsAre(files_.path("d/images/n12.jpg")));
  EXPECT_THAT(questions[0].source, HasSubstr("question 201307251"));
}

TEST_F(VisionLoaders, DamagedGqa) {
  const auto refused = [&](const std::string& text, Code code, const std::vector<std::string>& parts) {
    expect_error([&] { gqa(text); }, code, parts);
  };
  refused("[]", Code::bad_request, {"must be an object"});
  refused(R"({"1": {"imageId": "n12", "question": "?", "answer": "no"}})", Code::bad_request,
          {"question 1", "no \"types\""});
  refused(R"({"1": {"imageId": "n13", "question": "?", "answer": "no", "types": {"structural": "verify"}}})",
          Code::not_found, {"question 1", "n13.jpg"});
  refused(R"({"1": {"imageId": "../n12", "question": "?", "answer": "n", "types": {"structural": "v"}}})",
          Code::bad_request, {"below"});
  refused(R"({"1": {"imageId": "n12", "question": "?", "types": {"structural": "verify"}}})",
          Code::bad_request, {"no \"answer\""});  // the parts whose answers are kept back
  refused(R"({"1": 5})", Code::bad_request, {"question 1", "must be an object"});
}

TEST_F(VisionLoaders, MileBench) {
  const std::string entry =
      R"({"sample_id": 3, "task_instruction_id": 1, "image_quantity_level": "Few", "task_instance": {
          "context": "First {image#1} then {table#2} {image#} {image#x} and {image#1} again. What is it?",
          "images_path": ["a/1.png", "a/2.png"], "choice_list": ["a cat", "a dog"]}, "response": "a dog"})";
  for (const auto& questions : {milebench(entry), load_milebench(files_.path("m/Sorting")),
                                load_milebench(files_.path("m/Sorting/"))}) {
    ASSERT_EQ(questions.size(), 1u);
    const VisionQuestion& question = questions[0];
    EXPECT_EQ(question.category, "Sorting");
    EXPECT_THAT(question.before,
                ElementsAre("Look at the pictures.\nFirst ", " then ", " {image#} {image#x} and "));
    ASSERT_EQ(question.pictures.size(), 3u);
    EXPECT_EQ(question.pictures[0], question.pictures[2]);
    EXPECT_THAT(question.pictures[1], ::testing::EndsWith("m/Sorting/images/a/2.png"));
    EXPECT_EQ(question.question, " again. What is it?\nChoice list:\nA. a cat\nB. a dog\nYour answer is: ");
    EXPECT_EQ(question.match, Match::choice);
    EXPECT_EQ(question.answer, "a dog");
  }
}

TEST_F(VisionLoaders, MileBenchWithoutChoices) {
  const auto questions = milebench(
      R"({"task_instruction_id": 0, "task_instance": {"context": "{image#1}Which number?",
          "images_path": ["a/1.png"]}, "response": 12})");
  ASSERT_EQ(questions.size(), 1u);
  EXPECT_EQ(questions[0].answer, "12");
  EXPECT_EQ(questions[0].match, Match::relaxed);
  EXPECT_EQ(questions[0].question, "Which number?");
}

TEST_F(VisionLoaders, DamagedMileBench) {
  const auto refused = [&](const std::string& entry, Code code, const std::vector<std::string>& parts) {
    expect_error([&] { milebench(entry); }, code, parts);
  };
  const auto asked = [](const std::string& instance, const std::string& more = R"("response": "x")") {
    return R"({"task_instruction_id": 0, "task_instance": {)" + instance + "}, " + more + "}";
  };
  refused("{", Code::bad_request, {"Sorting.json", "not JSON"});
  refused("7", Code::bad_request, {"\"data\", element 0", "must be an object"});
  refused(asked(R"("context": "{image#1}?", "images_path": ["a/1.png"])", R"("answer": 1)"),
          Code::bad_request, {"element 0", "no \"response\""});
  refused(asked(R"("context": "{image#2}?", "images_path": ["a/1.png"])"), Code::bad_request,
          {"shows picture 2", "has 1"});
  refused(asked(R"("context": "none?", "images_path": ["a/1.png"])"), Code::bad_request, {"no picture"});
  refused(asked(R"("context": "{image#1}?", "images_path": ["a/3.png"])"), Code::not_found,
          {"images_path", "a/3.png"});
  refused(asked(R"("context": "{image#1}?", "images_path": ["../a/1.png"])"), Code::bad_request, {"below"});
  refused(asked(R"("context": "{image#1}?", "images_path": ["a/1.png"], "choice_list": ["y", "z"])"),
          Code::bad_request, {"'x' is none of its choices"});
  refused(R"({"task_instruction_id": 2, "task_instance": {"context": "{image#1}", "images_path": ["a/1.png"]},
              "response": "x"})",
          Code::bad_request, {"task_instruction", "at least 3"});
  refused(
      R"({"task_instruction_id": -1, "task_instance": {"context": "{image#1}", "images_path": ["a/1.png"]},
              "response": "x"})",
      Code::bad_request, {"task_instruction_id", "at least 0"});
  expect_error([&] { load_milebench(files_.path("d")); }, Code::not_found, {"no task in it"});
}

}  // namespace
}  // namespace fastcache::eval
