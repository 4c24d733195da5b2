"""Bad input, the right behaviour, and the tests that hold it.

Each line below an area names a file of tests/ and a test function in it. A test that is renamed or
removed must be replaced here: the table fails otherwise.

Remote code: always refused, but of a whole commit that the command line trusts, which is recorded
    security/test_remote_code.py::test_a_model_that_needs_its_own_code_is_refused_by_every_command_that_loads_it
    security/test_remote_code.py::test_training_refuses_it
    security/test_remote_code.py::test_an_answering_model_and_a_judge_are_refused_alike
    security/test_remote_code.py::test_fetching_a_model_runs_nothing_of_it
    security/test_remote_code.py::test_code_that_is_not_needed_does_not_run
    security/test_remote_code.py::test_a_configuration_cannot_name_kernels_nor_trust_code
    security/test_remote_code.py::test_only_a_whole_commit_of_one_repository_can_be_trusted
    security/test_remote_code.py::test_a_trusted_commit_runs_and_what_it_becomes_runs_by_the_same_trust
    security/test_remote_code.py::test_training_runs_trusted_code_says_so_and_publishes_it
    security/test_remote_code.py::test_trust_is_for_those_bytes_alone
    security/test_remote_code.py::test_what_is_trusted_stands_in_the_manifest_and_reaches_the_processes_of_a_stage

Remote code, side doors: kernels of a repository, code in another repository, vLLM
    security/test_remote_code.py::test_kernels_of_a_repository_are_refused_by_name
    security/test_remote_code.py::test_trusted_code_in_another_repository_is_refused
    security/test_remote_code.py::test_vllm_is_shown_no_code_and_is_no_old_one

PEFT: an adapter imports no library and chooses no other base model
    security/test_remote_code.py::test_an_adapter_cannot_name_a_library_to_be_imported
    security/test_remote_code.py::test_a_foreign_adapter_does_not_choose_the_base_model
    training/test_bad_inputs.py::test_an_adapter_that_is_not_of_this_base_is_refused

Pickle: safetensors only; no pickle of arguments is written or read
    security/test_pickles.py::test_a_model_with_pickled_weights_is_refused_with_the_way_to_convert_it
    security/test_pickles.py::test_pickles_beside_safetensors_are_not_looked_at
    security/test_pickles.py::test_an_adapter_with_pickled_weights_is_refused
    security/test_pickles.py::test_no_line_of_ours_unpickles
    security/test_pickles.py::test_the_evil_pickle_is_evil
    security/test_pickles.py::test_evil_states_in_a_checkpoint_do_not_run
    e2e/test_canary.py::test_no_pickle_is_written_but_the_trainers_own_states

Datasets: no loading script, no address but a name of the Hub, no file of unknown kind
    security/test_data_scripts.py::test_a_loading_script_is_refused_with_a_way_out_and_does_not_run
    security/test_paths.py::test_data_come_from_files_of_known_kinds_and_the_hub_alone
    security/test_paths.py::test_a_dry_run_shows_where_the_data_really_are
    data/test_bad_inputs.py::test_gzip_bomb_is_refused_in_little_memory_and_time

YAML: tags, aliases, depth, size, duplicates, and words that are read as something else
    security/test_configuration.py::test_a_hostile_file_is_one_error_and_soon
    security/test_configuration.py::test_the_rate_of_zephyrs_dpo_is_a_number
    security/test_configuration.py::test_values_on_the_command_line_are_read_as_strictly
    config/test_yaml.py::test_traps_are_refused_with_their_place

Jinja: a foreign template is tried in a child within limits; its hash is pinned
    security/test_templates.py::test_a_hostile_template_is_refused_within_its_limits
    security/test_templates.py::test_a_hostile_template_of_a_model_is_refused_by_the_command_that_would_use_it
    security/test_templates.py::test_one_of_several_templates_is_enough
    security/test_templates.py::test_an_ordinary_template_is_tried_once_and_ours_never
    security/test_templates.py::test_the_child_sees_no_secret
    data/test_template_lock.py::test_another_template_is_refused
    chat/test_talker.py::test_another_template_than_the_trained_one_is_said
    evaluation/own/test_rubric.py::test_a_rubric_without_end_is_stopped

Turn injection: rows are dropped and counted; chat and judge read such text as text
    security/test_turns.py::test_a_pasted_end_of_turn_ends_no_turn
    security/test_turns.py::test_one_answer_of_the_command_says_so
    security/test_turns.py::test_ordinary_text_is_read_as_it_is
    data/filters/test_special_tokens.py::test_chat_markup_of_every_family_is_found
    data/test_inspection.py::test_chat_markup_in_a_text_fails_its_check
    evaluation/judges/test_local.py::test_control_tokens_in_an_answer_stay_text
    drills/test_data_drills.py::test_04_hostile_rows_are_counted_by_reason_and_never_reach_the_terminal

Markup: foreign text is shown literally, also in --help
    security/test_terminal_text.py::test_hostile_text_of_a_run_is_text_in_every_view
    security/test_terminal_text.py::test_a_hostile_run_does_not_stop_what_shows_little_of_it
    security/test_terminal_text.py::test_help_takes_markup_in_a_docstring_literally
    test_terminal.py::test_a_console_takes_markup_literally

ANSI: one `safe` for the terminal, logs and streams
    security/test_terminal_text.py::test_what_is_shown_is_safe_and_stays_as_it_is
    security/test_terminal_text.py::test_where_a_stream_is_cut_does_not_matter
    security/test_terminal_text.py::test_ordinary_text_of_every_script_is_left_alone
    security/test_terminal_text.py::test_hostile_arguments_are_repeated_safely
    security/test_terminal_text.py::test_hostile_keys_and_values_of_a_file_are_repeated_safely
    security/test_terminal_text.py::test_a_value_that_is_only_strange_is_shown_safely
    security/test_terminal_text.py::test_a_services_answers_and_errors_are_shown_safely
    security/test_terminal_text.py::test_a_sequence_that_a_stream_cuts_in_pieces_never_shows
    test_terminal.py::test_a_megabyte_of_openings_is_cleaned_in_linear_time
    cli/test_evaluate_results.py::test_text_of_models_is_never_markup_nor_control
    drills/test_chat_drills.py::test_23_hostile_replies_are_shown_as_safe_text_and_ctrl_c_keeps_the_conversation

Tracebacks: no locals, no echoed input, no password of an address
    security/test_secrets.py::test_a_traceback_shows_no_local_variable
    security/test_secrets.py::test_a_validation_error_does_not_repeat_its_input
    security/test_configuration.py::test_a_refused_value_is_not_repeated_where_it_may_be_a_secret
    security/test_endpoints.py::test_a_password_in_an_address_is_not_shown
    generation/test_endpoint.py::test_a_key_repeated_by_the_server_is_masked

Secrets at rest: a key is in no file, no command line and no output
    security/test_secrets.py::test_no_command_prints_a_key_of_the_environment
    security/test_secrets.py::test_a_key_is_no_option_of_any_command
    security/test_secrets.py::test_manifests_name_neither_the_machine_nor_its_user
    e2e/test_canary.py::test_a_run_of_all_stages_writes_no_key_anywhere
    e2e/test_judged.py::test_a_judged_score_stands_with_the_judges_name
    drills/test_launch_drills.py::test_24_secrets_of_the_environment_are_found_nowhere

Redirects: not followed; size, time and Retry-After are bounded; keys travel encrypted
    security/test_endpoints.py::test_a_redirect_is_not_followed_and_the_key_stays
    security/test_endpoints.py::test_an_answer_without_end_is_given_up
    security/test_endpoints.py::test_a_bomb_of_packed_zeros_is_given_up
    security/test_endpoints.py::test_a_service_cannot_make_us_wait_past_our_own_deadline
    generation/test_endpoint.py::test_the_environment_key_is_not_sent_in_the_clear_to_another_machine
    drills/test_eval_drills.py::test_19_a_redirect_is_not_followed_and_the_key_goes_nowhere_else

Paths: names are words; no link leads a deletion outside
    security/test_paths.py::test_the_name_of_a_run_is_a_word
    security/test_paths.py::test_a_name_of_the_hub_is_no_path
    security/test_paths.py::test_removing_a_linked_run_removes_the_link
    security/test_paths.py::test_links_inside_a_run_are_not_followed_by_its_removal
    security/test_paths.py::test_rotation_and_a_fresh_start_do_not_follow_links
    security/test_paths.py::test_what_replaces_a_link_replaces_the_link
    evaluation/exchange/test_alpaca.py::test_a_foreign_annotators_name_does_not_leave_the_folder
    models/test_fetch.py::test_names_in_the_archive_never_become_paths

Launcher injection: words match a pattern and travel as arguments
    security/test_paths.py::test_no_word_for_another_program_holds_a_command
    drills/test_launch_drills.py::test_24_a_name_that_is_a_command_is_refused
    launch/test_launch_plan.py::test_the_command_can_be_pasted
    launch/test_launch_plan.py::test_json_names_secrets_and_holds_no_value_of_them

HTML report: foreign text is text, nothing runs, nothing is loaded
    reports/test_html.py::test_nothing_is_loaded_and_nothing_runs
    reports/test_html.py::test_the_policy_forbids_everything_but_inline_style
    reports/test_html.py::test_hostile_text_is_text
    reports/test_html.py::test_labels_in_svg_are_escaped

Judge injection: fences, verdicts at one place, both orders, canaries, doubts, length control
    evaluation/test_fencing.py::test_no_answer_holds_the_mark_and_the_mark_is_the_same_again
    evaluation/test_fencing.py::test_an_answer_that_quotes_a_mark_gets_another
    evaluation/mt_bench/test_pairs.py::test_a_fence_encloses_answers_and_nothing_else
    evaluation/test_verdicts.py::test_a_reply_that_does_not_begin_with_a_verdict_gives_no_probabilities
    evaluation/alpaca_eval/test_benchmark.py::test_missing_verdicts_are_counted_and_too_many_leave_no_score
    evaluation/mt_bench/test_pairs.py::test_every_turn_is_judged_in_both_orders
    evaluation/mt_bench/test_pairs.py::test_a_judge_of_places_leaves_only_ties
    evaluation/alpaca_eval/test_benchmark.py::test_judgments_are_asked_once_and_identical_outputs_never
    drills/test_eval_drills.py::test_22_answers_made_for_the_judge_win_and_are_marked_as_not_to_be_trusted
    evaluation/test_doubts.py::test_a_constant_answer_is_found
    evaluation/test_doubts.py::test_words_of_the_judge_in_an_answer_are_found
    evaluation/alpaca_eval/test_benchmark.py::test_scores_begin_with_length_control_and_agree_with_the_stored_file

Supply chain: exact versions, commits and digests
    security/test_supply_chain.py::test_every_package_that_setup_installs_has_one_exact_version
    security/test_supply_chain.py::test_setup_and_its_stamp_use_the_pins
    security/test_supply_chain.py::test_every_packaged_recipe_names_commits
    security/test_supply_chain.py::test_public_files_of_benchmarks_have_a_commit_and_a_digest
    security/test_supply_chain.py::test_the_model_of_the_package_index_has_a_version_and_a_digest
    models/test_fetch.py::test_another_file_under_the_same_version_is_refused
"""

import ast
from functools import cache
from pathlib import Path

TESTS = Path(__file__).resolve().parents[1]
AREAS = (
    "Remote code", "Remote code, side doors", "PEFT", "Pickle", "Datasets", "YAML", "Jinja",
    "Turn injection", "Markup", "ANSI", "Tracebacks", "Secrets at rest", "Redirects", "Paths",
    "Launcher injection", "HTML report", "Judge injection", "Supply chain",
)  # fmt: skip


def table() -> dict[str, list[str]]:
    """The tests of each area."""
    assert __doc__
    found: dict[str, list[str]] = {}
    for line in __doc__.splitlines():
        if line.startswith("    "):
            found[list(found)[-1]].append(line.strip())
        elif ": " in line and line.partition(":")[0] in AREAS:
            found[line.partition(":")[0]] = []
    return found


@cache
def functions(file: str) -> frozenset[str]:
    """The test functions of a file, by its text: nothing of it is imported."""
    path = TESTS / file
    assert path.is_file(), file
    tree = ast.parse(path.read_text(encoding="utf-8"))
    return frozenset(node.name for node in tree.body if isinstance(node, ast.FunctionDef))


def test_every_area_has_tests_and_every_test_is_there() -> None:
    rows = table()
    assert tuple(rows) == AREAS
    absent = []
    for area, names in rows.items():
        assert names, area
        assert len(names) == len(set(names)), area
        for name in names:
            file, _, function = name.partition("::")
            if not function.startswith("test_") or function not in functions(file):
                absent.append(f"{area}: {name}")
    assert absent == []


def test_every_test_of_this_folder_holds_a_row() -> None:
    """Whoever adds a test of security says what it is for."""
    named = {name for names in table().values() for name in names}
    here = {
        f"security/{path.name}::{function}"
        for path in Path(__file__).parent.glob("test_*.py")
        if path.name != Path(__file__).name
        for function in functions(f"security/{path.name}")
        if function.startswith("test_")
    }
    assert sorted(here - named) == []
