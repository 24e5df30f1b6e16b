# What `terraform test` holds; nothing is applied, so nothing starts.

# Of each run, unless it says otherwise.
variables {
  environment = "staging"
  home        = "/srv/greenlight"
  models      = ["rain"]
}

run "a_host_has_an_edge_and_two_slots_a_model" {
  command = plan

  variables {
    models = ["rain", "snow"]
  }

  assert {
    condition     = output.edge_url == "http://127.0.0.1:8080" && output.admin_url == "http://127.0.0.1:8081"
    error_message = "staging's edge is at 8080, its admin page after it"
  }

  assert {
    condition     = output.models == [{ name = "rain", blue = 8082, green = 8083 }, { name = "snow", blue = 8084, green = 8085 }]
    error_message = "each model has two ports of its own"
  }

  assert {
    condition     = output.socket == "/srv/greenlight/staging/supervisor/socket"
    error_message = "the supervisor's socket is below home, not in /tmp"
  }
}

run "production_is_elsewhere" {
  command = plan

  variables {
    environment = "production"
  }

  assert {
    condition     = output.edge_url == "http://127.0.0.1:8090"
    error_message = "both environments fit on one machine"
  }
}

run "a_port_of_ones_own_moves_all_of_them" {
  command = plan

  variables {
    environment = "production"
    port        = 18080
  }

  assert {
    condition     = output.edge_url == "http://127.0.0.1:18080" && output.models[0].green == 18083
    error_message = "port is the first of them"
  }
}

run "an_environment_is_a_word" {
  command = plan

  variables {
    environment = "Production!"
  }

  expect_failures = [var.environment]
}

run "home_is_absolute" {
  command = plan

  variables {
    home = "greenlight"
  }

  expect_failures = [var.home]
}

run "a_port_that_only_root_may_have_is_refused" {
  command = plan

  variables {
    port = 80
  }

  expect_failures = [var.port]
}

run "two_models_of_one_name_are_refused" {
  command = plan

  variables {
    models = ["rain", "rain"]
  }

  expect_failures = [var.models]
}
