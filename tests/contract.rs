//! One contract for every engine that runs containers one by one: the fake keeps it, so that what is proved on
//! the fake holds; the real engine keeps it, so that the fake stays honest. A missing engine fails.
//!
//! Needs an engine (`DOCKER_HOST` or the usual socket) and the `docker` program. Everything it makes is named
//! `ct-<pid>-…` and removed again.

mod support;

#[path = "contract/by_hand.rs"]
mod by_hand;
#[path = "contract/cost.rs"]
mod cost;
#[path = "contract/docker_only.rs"]
mod docker_only;
#[path = "contract/drift.rs"]
mod drift;
#[path = "contract/events.rs"]
mod events;
#[path = "contract/fake_only.rs"]
mod fake_only;
#[path = "contract/files.rs"]
mod files;
#[path = "contract/fleet_lab.rs"]
mod fleet_lab;
#[path = "contract/images.rs"]
mod images;
#[path = "contract/lab.rs"]
mod lab;
#[path = "contract/life.rs"]
mod life;
#[path = "contract/looks.rs"]
mod looks;
#[path = "contract/made.rs"]
mod made;
#[path = "contract/names.rs"]
mod names;
#[path = "contract/networks.rs"]
mod networks;
#[path = "contract/owners.rs"]
mod owners;
#[path = "contract/docker_lab.rs"]
mod real;
#[path = "contract/refusals.rs"]
mod refusals;
#[path = "contract/registries.rs"]
mod registries;
#[path = "contract/voices.rs"]
mod voices;
#[path = "contract/volumes.rs"]
mod volumes;
#[path = "contract/watched.rs"]
mod watched;

/// Every clause, on the fake and on the real engine.
macro_rules! contract {
    ($($room:ident :: $clause:ident),+ $(,)?) => {
        mod fake {
            $(#[tokio::test]
            async fn $clause() {
                crate::$room::$clause(&crate::lab::FakeLab::new()).await;
            })+
        }
        mod docker {
            $(#[tokio::test]
            async fn $clause() {
                crate::real::in_lab(async |lab| crate::$room::$clause(lab).await).await;
            })+
        }
    };
}

contract! {
    life::a_container_is_created_started_stopped_and_removed,
    life::every_call_can_be_made_twice,
    life::what_was_killed_has_exited,
    life::a_paused_container_is_let_go_on,
    life::a_stopped_container_is_not_revived_by_its_policy,
    life::every_restart_policy_is_read_back,
    life::a_restart_policy_changes_in_place,
    life::limits_change_in_place,
    drift::what_was_made_is_as_it_was_made,
    drift::what_ran_and_was_stopped_is_still_as_it_was_made,
    drift::limits_set_by_hand_are_read,
    drift::a_network_that_is_left_is_found,
    drift::a_further_network_is_found,
    drift::a_new_name_is_found,
    drift::what_somebody_made_anew_is_found_field_by_field,
    drift::what_an_older_version_made_does_not_drift,
    drift::the_author_is_read_back,
    looks::a_hand_that_a_list_does_not_show_is_seen_by_its_event,
    looks::who_hears_nothing_looks_at_everything,
    looks::our_own_hand_is_looked_at,
    looks::a_foreign_name_and_a_moved_tag_are_seen_in_later_rounds,
    looks::what_vanished_is_gone_from_the_next_round,
    images::a_list_vouches_only_for_references_that_lead_to_the_image,
    images::an_id_is_no_reference_that_a_list_vouches_for,
    images::a_first_look_tells_where_references_lead_now,
    images::what_lasts_is_noted_once_and_recalled,
    names::only_containers_with_all_labels_are_listed,
    names::without_labels_everybodys_containers_are_listed,
    names::a_list_tells_what_inspect_tells,
    files::files_are_put_before_start_and_read_back,
    files::a_read_only_root_takes_no_files,
    files::a_file_that_is_not_there_is_gone,
    files::a_directory_is_no_file,
    networks::an_isolated_network_keeps_neighbours_apart,
    networks::an_open_network_says_why,
    networks::a_second_network_of_one_name_is_refused,
    volumes::a_volume_is_found_by_its_labels,
    volumes::a_volume_of_another_is_a_conflict,
    volumes::a_volume_in_use_stays,
    events::a_change_after_the_cursor_wakes,
    events::nothing_is_seen_twice,
    events::nothing_is_lost_across_a_reconnect,
    events::what_others_do_wakes_nobody,
    events::a_cancelled_wait_loses_nothing,
    events::an_event_names_what_it_touched,
    events::a_network_that_comes_or_goes_is_named,
    events::a_tag_that_moves_is_told,
    voices::a_health_check_is_known_before_the_start,
    voices::the_last_lines_are_told,
    voices::what_is_not_there_says_nothing,
    refusals::an_absent_image_is_gone_and_helped,
    refusals::an_absent_network_is_gone,
    refusals::a_taken_name_is_a_conflict,
    refusals::what_is_not_there_is_gone,
    refusals::a_running_container_is_not_removed,
}
