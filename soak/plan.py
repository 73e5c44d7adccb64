"""The reliability plan: what is to be survived, and the tests that show it."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Item:
    """A kind of fault."""

    what: str
    tests: tuple[str, ...] = ()
    """``file::function`` below ``tests``."""
    beside: str = ""
    """Where else it is shown, or what is not shown."""


PLAN: dict[str, Item] = {
    "T1": Item(
        "kill -9 at random points, then the same bytes",
        (
            "test_interruption.py::test_after_four_kills_9_nobody_is_left_and_a_rerun_gives_the_same_bytes",
            "test_train.py::test_an_interrupted_run_continues_to_the_same_bytes",
            "test_train.py::test_any_run_interrupted_three_times_ends_with_the_same_bytes",
            "test_soak.py::test_a_sample_of_a_loop_finds_nothing_wrong",
        ),
        "loops T1 and T1 dvc",
    ),
    "T2": Item(
        "a write, sync or rename fails",
        (
            "test_files.py::test_a_failing_write_leaves_the_old_file",
            "test_files.py::test_of_several_writes_only_those_before_the_failing_one_happen",
            "test_files.py::test_a_folder_that_cannot_be_put_in_place_is_as_it_was",
            "test_soak.py::test_a_sample_of_a_loop_finds_nothing_wrong",
        ),
        "loop T2",
    ),
    "T3": Item(
        "a disk that is full",
        (
            "test_doctor.py::test_a_full_disk_is_told",
            "test_study.py::test_a_full_disk_is_told_before_anything_starts",
            "test_study.py::test_a_disk_without_room_for_a_clone_is_a_failure_of_the_condition",
        ),
        "ENOSPC in loop T2; no test mounts a small disk",
    ),
    "T4": Item(
        "a damaged file",
        (
            "test_train.py::test_a_damaged_checkpoint_falls_back_to_the_one_before",
            "test_subnetwork.py::test_every_flipped_byte_is_told_before_use",
            "test_data.py::test_prepared_data_come_back_as_they_were_and_damage_is_told",
            "test_raw.py::test_a_file_with_a_wrong_sum_is_refused_whichever_it_is",
            "test_soak.py::test_a_sample_of_a_loop_finds_nothing_wrong",
        ),
        "loop T4",
    ),
    "T5": Item(
        "a seed that diverges",
        ("test_train.py::test_a_diverging_seed_is_marked_and_leaves_the_others_as_they_were",),
    ),
    "T6": Item(
        "wrong parameters",
        (
            "test_config.py::test_a_wrong_file_is_refused_in_words_that_name_the_key",
            "test_config.py::test_an_arbitrary_tree_raises_nothing_but_config_errors",
            "test_config.py::test_the_real_tree_with_a_value_replaced_raises_nothing_but_config_errors",
            "test_config.py::test_a_stage_refuses_a_wrong_file_at_once_and_without_traceback",
        ),
    ),
    "T7": Item(
        "a changed setting never meets an old state",
        (
            "test_checkpoint_folder.py::test_every_parameter_but_the_number_of_workers_changes_the_key",
            "test_checkpoint_folder.py::test_data_code_device_and_seeds_change_the_key",
        ),
    ),
    "T8": Item(
        "two runs of the same work",
        (
            "test_interruption.py::test_a_second_run_waits_for_the_first",
            "test_study.py::test_a_second_process_does_not_run_the_same_study",
            "test_lifeline.py::test_a_child_ends_with_its_parent",
        ),
        "orphans: loop T1 dvc",
    ),
    "T9": Item(
        "dvc repro, exp run, --temp, --queue killed",
        (),
        "dvc repro: loop T1 dvc; no test kills --temp or --queue",
    ),
    "T10": Item("clones that share a cache, one killed in its push", (), "no test"),
    "T11": Item(
        "the same bytes again",
        (
            "test_pipeline.py::test_a_second_run_gives_the_same_bytes_with_any_number_of_workers",
            "test_network.py::test_a_seed_alone_equals_the_seed_in_a_group",
        ),
        "every process computes on one thread; hash seed, zone and locale have no test",
    ),
    "T12": Item("the same bytes on a GPU", (), "no test in the suite: it needs a device"),
    "T13": Item("a GPU without enough memory", (), "no test in the suite: it needs a device"),
    "T14": Item(
        "code in a data file",
        ("test_raw.py::test_a_malicious_pickle_is_not_run_with_or_without_the_sum",),
    ),
    "T15": Item(
        "a hostile archive or image",
        (
            "test_raw.py::test_a_file_with_a_wrong_sum_is_refused_whichever_it_is",
            "test_image_folder.py::test_a_decompression_bomb_is_refused",
        ),
        "archives are refused by their sum, before they are opened",
    ),
    "T16": Item(
        "text that would be markup",
        (
            "test_report.py::test_title_of_the_parameters_cannot_break_out",
            "test_report.py::test_layer_names_cannot_break_out",
            "test_compare.py::test_the_page_opens_no_address_and_text_cannot_break_out",
        ),
    ),
    "T17": Item(
        "extraction is equal",
        (
            "test_subnetwork.py::test_extracted_logits_equal_masked_logits_for_random_plans",
            "test_subnetwork.py::test_parameter_count_of_the_module_equals_the_formula",
        ),
    ),
    "T18": Item(
        "the algebra of edits",
        (
            "test_edit.py::test_any_event_moves_what_it_was_asked_and_touches_nothing_else",
            "test_recipe.py::test_every_operator_ends_at_the_same_counts",
            "test_recipe.py::test_grow_to_everything_at_step_0_equals_dense",
        ),
    ),
    "T19": Item(
        "statistics keep their promise",
        (
            "test_stats.py::test_intervals_hold_the_true_mean_in_95_of_100_studies",
            "test_stats_peers.py::test_equivalences_agree",
            "test_stats_peers.py::test_welch_tests_agree",
        ),
        "2,000 studies each: benchmarks/coverage.py",
    ),
    "T20": Item(
        "no network",
        (
            "test_report.py::test_page_opens_no_address",
            "test_raw.py::test_missing_files_without_a_network_say_both_ways_out",
        ),
        "no test closes all sockets of a stage",
    ),
    "T21": Item(
        "a report of little or much",
        (
            "test_report.py::test_what_was_not_run_is_said",
            "test_report.py::test_one_seed_has_no_interval",
            "test_report.py::test_no_line_has_more_points_than_the_budget",
            "test_compare.py::test_nothing_at_all_is_no_fault",
        ),
    ),
    "T22": Item("a fresh clone", (), ".ci/run"),
    "T23": Item(
        "Ctrl-C and SIGTERM",
        ("test_interruption.py::test_sigterm_saves_exits_75_and_continues_to_the_same_bytes",),
        "loop T25",
    ),
    "T24": Item(
        "little overhead",
        ("test_config.py::test_help_is_given_without_torch",),
        "the engine's: benchmarks/RESULTS.md",
    ),
    "T25": Item(
        "random faults for long",
        ("test_soak.py::test_a_sample_of_a_loop_finds_nothing_wrong",),
        "loops T25 and memory",
    ),
}
