// What a sidecar's page calls things, by naming profile; the one whose duration is found is used.
const NAMES = {
  default: {
    requests: 'http_requests_total', duration: 'http_request_duration_seconds',
    method: 'method', path: 'path', status: 'status', error: 'error',
    inFlight: 'http_requests_in_flight',
  },
  flask: {
    requests: 'flask_http_request_duration_seconds_count',
    duration: 'flask_http_request_duration_seconds',
    method: 'method', path: 'path', status: 'status', error: '', inFlight: '',
  },
  otel: {
    requests: 'http_server_request_duration_seconds_count',
    duration: 'http_server_request_duration_seconds',
    method: 'http_request_method', path: 'http_route', status: 'http_response_status_code',
    error: 'error_type', inFlight: 'http_server_active_requests',
  },
  sidecar: {
    up: 'redcar_upstream_up', connects: 'redcar_upstream_connects_total',
    draining: 'redcar_draining', overflow: 'redcar_path_overflow_total',
    refused: 'redcar_downstream_connections_refused_total', build: 'redcar_build_info',
    started: 'process_start_time_seconds',
  },
};

// Labels that are no paths, and what is counted under them.
const RESERVED = {
  _UNMATCHED: 'paths that no answer has shown to exist yet (404s, scanners, requests refused before the app), and words that wait a moment for their name',
  _OTHER: 'paths beyond --max-paths or --max-series',
  _UNPARSED: 'requests that are no HTTP',
  _ALL: 'all paths, as --paths off asks for',
};

// The values of the `error` label: who failed, and what happened.
const ERRORS = {
  connection_refused: ['app', 'refused the connection: nothing listens on --upstream'],
  connection_terminated: ['app', 'closed the connection before it answered'],
  http_response_incomplete: ['app', 'ended its answer early'],
  http_protocol_error: ['app', 'answered with something that is not HTTP'],
  http_response_timeout: ['app', 'sent no answer within --response-timeout'],
  http_upgrade_failed: ['app', 'did not complete an upgrade'],
  tls_protocol_error: ['app', 'did not complete a TLS handshake'],
  tls_certificate_error: ['app', 'showed a certificate that was not accepted'],
  tls_alert_received: ['app', 'refused the TLS handshake'],
  connection_timeout: ['network', 'no connection to the app within --connect-timeout'],
  dns_error: ['network', 'the name in --upstream does not resolve'],
  destination_unavailable: ['network', 'no way to the address in --upstream'],
  connection_limit_reached: ['sidecar', 'has no file descriptor or local port left'],
  proxy_internal_error: ['sidecar', 'has a defect; see its log'],
  overloaded: ['sidecar', 'had no room to keep the request, or cut it off for others'],
  draining: ['sidecar', 'was shut down before the answer was complete'],
  http_request_error: ['client', 'sent a request that may not be forwarded'],
  downstream_aborted: ['client', 'went away before the answer was complete'],
  downstream_body_error: ['client', 'sent a body that is not what it announced'],
  downstream_timeout: ['client', 'was too slow'],
};

// Not a value of the label: the app's own answer, whole.
const OWN_FAILURE = 'own_5xx';
const OWN_WORDS = ['app', 'answered 5xx by itself'];

// Who failed and how, also for a value that this page does not know.
function blame(error) {
  if (error === OWN_FAILURE) return OWN_WORDS;
  return Object.hasOwn(ERRORS, error) ? ERRORS[error] : ['sidecar', error];
}

