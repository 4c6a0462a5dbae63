-- One kind of request for wrk, and its result as one line of JSON.
-- Arguments after `--`: METHOD KEY [FILE of the body]

function init(args)
    wrk.method = args[1]
    if args[2] ~= "" then
        wrk.headers["Authorization"] = "Bearer " .. args[2]
    end
    if args[3] then
        local file = assert(io.open(args[3], "rb"))
        wrk.body = file:read("*a")
        file:close()
        wrk.headers["Content-Type"] = "application/json"
    end
end

function done(summary, latency)
    local e = summary.errors
    io.write(string.format(
        '\n{"requests":%d,"duration_us":%d,"p50_us":%d,"p99_us":%d,"status_errors":%d,' ..
        '"socket_errors":%d}\n',
        summary.requests, summary.duration, latency:percentile(50), latency:percentile(99),
        e.status, e.connect + e.read + e.write + e.timeout))
end
