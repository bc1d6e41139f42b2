// CUDA kernels on the CPU: every thread of a block is a fiber that runs until it waits for the others.
//
// The test compiles this with SOURCE, a .cu file, and KERNELS, a KERNEL(name) for each. Between two barriers the warps
// run one after another, and so do the lanes of a warp between two shuffles, and the blocks, in an order that the test
// chooses. A kernel in which one thread reads what another writes in the same interval gives something else when the
// order is reversed; one without races gives the same. At an atomic the other lanes come first.

#include <ucontext.h>

#include <algorithm>
#include <cmath>
#include <csetjmp>
#include <cstring>
#include <memory>
#include <numeric>
#include <random>
#include <string>
#include <utility>
#include <vector>

struct Index {
    unsigned x, y, z;
};

constexpr size_t STACK = 1 << 15;

enum class Waits { no, for_warp, for_block, ended };

struct Fiber {
    ucontext_t start;
    jmp_buf place;
    bool started = false;
    Waits waits = Waits::no;
    unsigned thread = 0;
    unsigned given = 0;   // to a shuffle or a vote
    unsigned asked = 0;   // the lane shuffled from
    unsigned answer = 0;
    std::unique_ptr<char[]> stack{new char[STACK]};
};

constexpr unsigned WARP = 32;
static std::vector<Fiber> fibers;
static Fiber* running;
static jmp_buf scheduler;
static void (*body)();
static Index block_index, block_size;

#define __device__
#define __global__
#define __shared__
#define __launch_bounds__(threads)
#define blockIdx block_index
#define blockDim block_size
#define threadIdx (Index{running->thread, 0, 0})

__attribute__((noinline)) static void wait(Waits what)
{
    running->waits = what;
    if (_setjmp(running->place) == 0) _longjmp(scheduler, 1);
}

static unsigned shuffle(unsigned bits, unsigned lane)
{
    running->given = bits;
    running->asked = lane % WARP;
    wait(Waits::for_warp);
    return running->answer;
}

static float __shfl_sync(unsigned, float value, unsigned lane)
{
    unsigned bits;
    std::memcpy(&bits, &value, sizeof bits);
    bits = shuffle(bits, lane);
    std::memcpy(&value, &bits, sizeof bits);
    return value;
}

static int __syncthreads_count(int predicate)
{
    running->given = predicate != 0;
    wait(Waits::for_block);
    return running->answer;
}

static void __syncthreads() { __syncthreads_count(0); }

// Other threads come first, so that what this one has read may be out of date.
static void let_others_on() { wait(Waits::no); }

static int atomicAdd(int* place, int value)
{
    let_others_on();
    return std::exchange(*place, *place + value);
}

static int atomicMin(int* place, int value)
{
    let_others_on();
    return std::exchange(*place, std::min(*place, value));
}

float strip_ends[1 << 14];

#include SOURCE

static void enter_fiber()
{
    body();
    running->waits = Waits::ended;
    _longjmp(scheduler, 1);
}

__attribute__((noinline)) static void run(Fiber& fiber)
{
    running = &fiber;
    if (_setjmp(scheduler) != 0) return;
    if (fiber.started) _longjmp(fiber.place, 1);
    fiber.started = true;
    getcontext(&fiber.start);
    fiber.start.uc_stack.ss_sp = fiber.stack.get();
    fiber.start.uc_stack.ss_size = STACK;
    makecontext(&fiber.start, enter_fiber, 0);
    setcontext(&fiber.start);
}

static bool any_ready(const Fiber* warp)
{
    return std::any_of(warp, warp + WARP, [](const Fiber& lane) { return lane.waits == Waits::no; });
}

// Lets a warp on if all of it has come to a shuffle.
static bool release_warp(Fiber* warp)
{
    if (!std::all_of(warp, warp + WARP, [](const Fiber& lane) { return lane.waits == Waits::for_warp; })) return false;
    for (Fiber* lane = warp; lane < warp + WARP; ++lane) lane->answer = warp[lane->asked].given;
    for (Fiber* lane = warp; lane < warp + WARP; ++lane) lane->waits = Waits::no;
    return true;
}

// Lets the block on if all of it that has not ended has come to a barrier.
static bool release_block()
{
    unsigned count = 0, waiting = 0;
    for (const Fiber& fiber : fibers) {
        if (fiber.waits == Waits::for_warp) return false;
        waiting += fiber.waits == Waits::for_block;
        count += fiber.waits == Waits::for_block ? fiber.given : 0;
    }
    for (Fiber& fiber : fibers)
        if (fiber.waits == Waits::for_block) fiber.waits = Waits::no, fiber.answer = count;
    return waiting > 0;
}

// One warp after another goes as far as it can. Returns false if the threads wait for each other for ever.
static bool run_block(const std::vector<unsigned>& warps, const std::vector<unsigned>& lanes)
{
    for (Fiber& fiber : fibers) fiber.started = false, fiber.waits = Waits::no;
    do {
        for (unsigned number : warps) {
            Fiber* warp = &fibers[number * WARP];
            do {
                for (unsigned lane : lanes)
                    if (warp[lane].waits == Waits::no) run(warp[lane]);
            } while (any_ready(warp) || release_warp(warp));
        }
    } while (release_block());
    return std::all_of(fibers.begin(), fibers.end(), [](auto& fiber) { return fiber.waits == Waits::ended; });
}

static std::vector<unsigned> order_of(unsigned count, unsigned order)
{
    std::vector<unsigned> numbers(count);
    std::iota(numbers.begin(), numbers.end(), 0u);
    if (order == 1) std::reverse(numbers.begin(), numbers.end());
    if (order > 1) std::shuffle(numbers.begin(), numbers.end(), std::mt19937(order));
    return numbers;
}

static bool run_grid(unsigned blocks, unsigned threads, unsigned order)
{
    if (fibers.size() != threads) fibers = std::vector<Fiber>(threads);
    for (unsigned thread = 0; thread < threads; ++thread) fibers[thread].thread = thread;
    block_size = {threads, 1, 1};
    const auto warps = order_of(threads / WARP, order), lanes = order_of(WARP, order);
    for (unsigned block : order_of(blocks, order)) {
        block_index = {block, 0, 0};
        std::fill(std::begin(strip_ends), std::end(strip_ends), NAN);
        if (!run_block(warps, lanes)) return false;
    }
    return true;
}

static void** packed;

template <auto kernel>
struct Call;

template <class... A, void (*kernel)(A...)>
struct Call<kernel> {
    template <size_t... I>
    static void unpack(std::index_sequence<I...>)
    {
        kernel(*static_cast<A*>(packed[I])...);
    }

    static void now() { unpack(std::index_sequence_for<A...>()); }
};

// As cuLaunchKernel, with the order of threads and blocks: 0 forward, 1 in reverse, more: shuffled. 0 if all went well.
extern "C" int launch(const char* name, unsigned blocks, unsigned threads, void** arguments, unsigned order)
{
    packed = arguments;
    body = nullptr;
#define KERNEL(kernel) \
    if (std::string(name) == #kernel) body = Call<kernel>::now;
    KERNELS
    if (!body) return 1;
    return run_grid(blocks, threads, order) ? 0 : 2;
}
