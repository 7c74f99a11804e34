# What became of the services while a restore was under way? A line of input is what a watch saw: the time in milliseconds, then "step" and
# the Restore's step, or a service's name, the Pods that it wants and those that are ready. Prints a row for each change, and for how long
# a service had no Pod that was ready. `began` is when the restore was confirmed.

function pods(service) { return ready[service] "/" wanted[service] }

function row() { return sprintf("%-21s %-12s %s", step, pods("api-gateway"), pods("ml-service")) }

function gone(service) { return service in since ? service " from then on" : sprintf("%s for %.1f s", service, without[service]) }

BEGIN { printf "%8s   %-21s %-12s %s\n", "AFTER", "STEP", "API-GATEWAY", "ML-SERVICE" }

{ after = ($1 > began ? $1 - began : 0) / 1000 }

$2 == "step" { step = $3 }

$2 != "step" {
    # Kubernetes leaves a number out that is zero.
    now = $4 + 0
    if (now == 0 && ready[$2] > 0) since[$2] = after
    if (now > 0 && $2 in since) {
        without[$2] += after - since[$2]
        delete since[$2]
    }
    wanted[$2] = $3
    ready[$2] = now
}

step && "api-gateway" in wanted && "ml-service" in wanted && row() != shown {
    shown = row()
    printf "%6.1f s   %s\n", after, shown
}

END { printf "no Pod was ready: of %s, of %s\n", gone("api-gateway"), gone("ml-service") }
