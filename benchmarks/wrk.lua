-- A request to one path in turn with each of some cookies, from a given one on. At the end, one line of JSON.
local requests, turn = {}, 0

function init(arguments)
  turn = tonumber(arguments[3])
  for cookie in io.lines(arguments[2]) do
    local headers = {}
    if cookie ~= "" then headers["Cookie"] = cookie end
    requests[#requests + 1] = wrk.format("GET", arguments[1], headers)
  end
end

function request()
  turn = turn % #requests + 1
  return requests[turn]
end

function done(summary, latency)
  local e = summary.errors
  io.write(string.format(
    '{"requests": %d, "seconds": %.6f, "p50": %.0f, "p99": %.0f, "refused": %d, "lost": %d}\n',
    summary.requests, summary.duration / 1e6, latency:percentile(50), latency:percentile(99),
    e.status, e.connect + e.read + e.write + e.timeout))
end
