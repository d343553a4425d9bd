"""What the machine is, and what else it did while something was measured."""
import os, platform, subprocess, tempfile, threading, time

# Instruction sets that decide which kernels run.
ISA_FLAGS = ("sse4_2", "avx", "avx2", "fma", "f16c", "avx_vnni", "avx512f", "avx512bw", "avx512_vnni", "avx512_bf16",
             "avx512_vbmi", "amx_int8", "asimd", "asimddp", "i8mm", "sve")
OTHER_LOAD_MAX, STEAL_MAX = 0.05, 0.02


class Failed(Exception):
    """A program that was to be measured ended with an error."""


def describe():
    """Processor, cores, instruction sets, memory, system."""
    fields = {}
    for line in open("/proc/cpuinfo"):
        name, _, value = line.partition(":")
        fields.setdefault(name.strip(), value.strip())
    present = set(fields.get("flags", fields.get("Features", "")).split())
    memory_kib = next(int(line.split()[1]) for line in open("/proc/meminfo") if line.startswith("MemTotal"))
    family = f" (family {fields['cpu family']}, model {fields['model']})" if "cpu family" in fields else ""
    return {
        "processor": fields.get("model name", platform.machine()) + family,
        "cores": os.cpu_count(),
        "virtual": "hypervisor" in present,
        "isa": [flag for flag in ISA_FLAGS if flag in present],
        "memory_gib": round(memory_kib / 2**20, 1),
        "system": platform.platform(),
        "load_average": os.getloadavg(),
    }


def processor_ticks():
    """Since the machine started: all ticks, those that any process used, those that the host took."""
    values = [int(value) for value in open("/proc/stat").readline().split()[1:9]]
    user, nice, system, idle, iowait, irq, softirq, steal = values
    return sum(values), user + nice + system + irq + softirq, steal


def run_measured(command, timeout_s):
    """Runs a program alone and watches: its output, the time to the first byte of
    it, peak memory, and what share of the processor's time others
    and the host took meanwhile. Raises `Failed` with the program's message."""
    ticks = processor_ticks()
    start = time.perf_counter()
    with tempfile.TemporaryFile() as errors:
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=errors)
        # `wait4` gives the exit status together with the peak memory, so nothing else may wait for the process.
        timer = threading.Timer(timeout_s, process.kill)
        timer.start()
        try:
            output = process.stdout.read(1)
            first = time.perf_counter()
            output += process.stdout.read()
            _, status, usage = os.wait4(process.pid, 0)
        except BaseException:
            process.kill()
            raise
        finally:
            timer.cancel()
        process.returncode = os.waitstatus_to_exitcode(status)
        errors.seek(0)
        message = errors.read().decode(errors="replace")
    if process.returncode:
        raise Failed(f"{' '.join(map(str, command))}\nended with {process.returncode}:\n{message[-2000:]}")
    total, used, steal = (after - before for after, before in zip(processor_ticks(), ticks))
    own = (usage.ru_utime + usage.ru_stime) * os.sysconf("SC_CLK_TCK")
    return {
        "output": output.decode(),
        "first_byte_s": first - start,
        "peak_mib": usage.ru_maxrss / 1024,
        "other_load": max(0.0, (used - own) / max(total, 1)),
        "steal": steal / max(total, 1),
    }
