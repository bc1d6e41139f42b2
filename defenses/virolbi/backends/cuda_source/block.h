// Images of at most 32 columns: one image per thread block, its whole path in one launch, its state in registers.
//
// A warp holds a strip of ROWS rows, a lane one column of it. Neighbours to the side are read by shuffles, neighbours
// above and below from the thread's own registers; only the first and last rows of u pass between strips, through
// shared memory, behind the one barrier of an iteration. The edges between two strips are kept by both, which spares
// the second barrier that passing their residuals would need.
//
// Compiled with ROWS and with BLOCK_THREADS, the most threads a block may have.

#pragma once

#include "step.h"

constexpr int LANES = 32;
constexpr unsigned ALL_LANES = 0xffffffffu;

extern __shared__ float strip_ends[];  // u, [2 by turns][strips][first and last row][CHANNELS][LANES]
__shared__ int support_sizes[3];       // of this iteration, the next and the one after, by turns

// Its arrays stay in registers as long as every loop over them is unrolled.
struct Strip {
    float x[ROWS][CHANNELS];
    float u[ROWS][CHANNELS];
    float velocity[ROWS][CHANNELS];  // takes no room without inertia
    Edge right[ROWS];
    Edge down[ROWS];
    Edge above;  // from the strip above, which keeps it as the last of its `down`
};

// Where a thread stands in the image.
struct Place {
    int height, width, lane, strip;
};

__device__ inline Place place_of_thread(int height, int width)
{
    return {height, width, int(threadIdx.x) % LANES, int(threadIdx.x) / LANES};
}

// Of the thread's pixel in row i of its strip.
__device__ inline bool is_pixel(const Place& at, int i)
{
    return at.lane < at.width && at.strip * ROWS + i < at.height;
}

__device__ inline bool has_right(const Place& at, int i) { return is_pixel(at, i) && at.lane + 1 < at.width; }

__device__ inline bool has_down(const Place& at, int i) { return is_pixel(at, i) && is_pixel(at, i + 1); }

__device__ inline float* strip_end(int turn, int strip, int last)
{
    const int strips = blockDim.x / LANES;
    return strip_ends + ((turn * strips + strip) * 2 + last) * CHANNELS * LANES;
}

// One image's part of a state: u and velocity [C,H,W], z_right [C,H,W−1], z_down [C,H−1,W].
struct SolverState {
    float *u, *velocity, *z_right, *z_down;
};

__device__ inline SolverState state_of_image(SolverState states, long long image, const Place& at)
{
    const int pixels = at.height * at.width;
    return {states.u + image * CHANNELS * pixels, states.velocity + image * CHANNELS * pixels,
            states.z_right + image * CHANNELS * (pixels - at.height),
            states.z_down + image * CHANNELS * (pixels - at.width)};
}

__device__ inline int pixel_index(const Place& at, int i, int c)
{
    return (c * at.height + at.strip * ROWS + i) * at.width + at.lane;
}

__device__ inline int right_index(const Place& at, int i, int c)
{
    return (c * at.height + at.strip * ROWS + i) * (at.width - 1) + at.lane;
}

__device__ inline int down_index(const Place& at, int i, int c)
{
    return (c * (at.height - 1) + at.strip * ROWS + i) * at.width + at.lane;
}

__device__ inline Strip load_strip(const float* x, const SolverState& state, const Place& at, const Factors& factors)
{
    Strip strip = {};
    for (int c = 0; c < CHANNELS; ++c) {
        if (at.strip > 0 && is_pixel(at, 0)) strip.above.z[c] = state.z_down[down_index(at, -1, c)];
#pragma unroll
        for (int i = 0; i < ROWS; ++i) {
            if (is_pixel(at, i)) strip.x[i][c] = x[pixel_index(at, i, c)];
            if (is_pixel(at, i)) strip.u[i][c] = state.u[pixel_index(at, i, c)];
            if (INERTIA && is_pixel(at, i)) strip.velocity[i][c] = state.velocity[pixel_index(at, i, c)];
            if (has_right(at, i)) strip.right[i].z[c] = state.z_right[right_index(at, i, c)];
            if (has_down(at, i)) strip.down[i].z[c] = state.z_down[down_index(at, i, c)];
        }
    }
    rescale(strip.above, factors);
#pragma unroll
    for (int i = 0; i < ROWS; ++i) {
        rescale(strip.right[i], factors);
        rescale(strip.down[i], factors);
    }
    return strip;
}

__device__ inline void save_strip(const Strip& strip, const SolverState& state, const Place& at)
{
#pragma unroll
    for (int i = 0; i < ROWS; ++i) {
        for (int c = 0; c < CHANNELS; ++c) {
            if (is_pixel(at, i)) state.u[pixel_index(at, i, c)] = strip.u[i][c];
            if (INERTIA && is_pixel(at, i)) state.velocity[pixel_index(at, i, c)] = strip.velocity[i][c];
            if (has_right(at, i)) state.z_right[right_index(at, i, c)] = strip.right[i].z[c];
            if (has_down(at, i)) state.z_down[down_index(at, i, c)] = strip.down[i].z[c];
        }
    }
}

// How many of the thread's own edges are in the support.
__device__ inline int support_of_strip(const Strip& strip)
{
    int size = 0;
#pragma unroll
    for (int i = 0; i < ROWS; ++i) size += in_support(strip.right[i]) + in_support(strip.down[i]);
    return size;
}

__device__ inline void publish(const Strip& strip, const Place& at, int turn)
{
    for (int c = 0; c < CHANNELS; ++c) {
        strip_end(turn, at.strip, 0)[c * LANES + at.lane] = strip.u[0][c];
        strip_end(turn, at.strip, 1)[c * LANES + at.lane] = strip.u[ROWS - 1][c];
    }
}

// One iteration of Eq. 5; returns how many of the thread's edges are in the support.
__device__ inline int advance_strip(Strip& strip, const Place& at, int turn, const Factors& factors)
{
    const bool has_above = at.strip > 0;
    const bool has_below = (at.strip + 1) * LANES < int(blockDim.x);
    float u_above[CHANNELS], u_below[CHANNELS], from_above[CHANNELS];
    for (int c = 0; c < CHANNELS; ++c) {
        u_above[c] = has_above ? strip_end(turn, at.strip - 1, 1)[c * LANES + at.lane] : 0.0f;
        u_below[c] = has_below ? strip_end(turn, at.strip + 1, 0)[c * LANES + at.lane] : 0.0f;
    }
    climb(strip.above, u_above, strip.u[0], has_above, factors, from_above);

    int size = 0;
#pragma unroll
    for (int i = 0; i < ROWS; ++i) {
        float u_right[CHANNELS], to_right[CHANNELS], to_below[CHANNELS];
        // Lanes count modulo 32. What the first and last columns get from beyond the row is not used, or 0.
        for (int c = 0; c < CHANNELS; ++c) u_right[c] = __shfl_sync(ALL_LANES, strip.u[i][c], at.lane + 1);
        const float* u_down = i + 1 < ROWS ? strip.u[i + 1 < ROWS ? i + 1 : i] : u_below;
        size += climb(strip.right[i], strip.u[i], u_right, has_right(at, i), factors, to_right);
        size += climb(strip.down[i], strip.u[i], u_down, has_down(at, i), factors, to_below);
        for (int c = 0; c < CHANNELS; ++c) {
            const float from_left = __shfl_sync(ALL_LANES, to_right[c], at.lane + LANES - 1);
            strip.u[i][c] = descend(strip.u[i][c], strip.velocity[i][c], strip.x[i][c], from_left, to_right[c],
                                    from_above[c], to_below[c], factors);
            from_above[c] = to_below[c];
        }
    }
    return size;
}

// Sums over the block, at one barrier a call. A sum is read until the next barrier, and its place cleared behind that.
__device__ inline int block_sum(int value, int k)
{
    atomicAdd(&support_sizes[k % 3], value);
    __syncthreads();
    if (threadIdx.x == 0) support_sizes[(k + 2) % 3] = 0;
    return support_sizes[k % 3];
}

__device__ inline void record_strip(const Strip& strip, const Place& at, float* u, bool* cut_right, bool* cut_down)
{
#pragma unroll
    for (int i = 0; i < ROWS; ++i) {
        for (int c = 0; c < CHANNELS; ++c)
            if (is_pixel(at, i)) u[pixel_index(at, i, c)] = strip.u[i][c];
        if (has_right(at, i)) cut_right[right_index(at, i, 0)] = in_support(strip.right[i]);
        if (has_down(at, i)) cut_down[down_index(at, i, 0)] = in_support(strip.down[i]);
    }
}

// Follows every image from its state to each of its stops, and leaves its last state in the same place.
// x: [B,C,H,W]
// states and iterations: [B], see SolverState
// stops: [B,L]
// Written at each stop:
// u: [B,L,C,H,W]
// cut_right, cut_down: [B,L,H,W−1] and [B,L,H−1,W], the support
// sizes: [B,L], its size
// reached_at: [B,L], the iteration
// Blocks: one per image, with one warp per ROWS rows, and shared memory for strip_ends.
extern "C" __global__ void __launch_bounds__(BLOCK_THREADS)
trace_in_blocks(const float* x, SolverState states, long long* iterations, const long long* stops, int stop_count,
                int max_iterations, Factors factors, int height, int width, float* u, bool* cut_right, bool* cut_down,
                long long* sizes, long long* reached_at)
{
    const Place at = place_of_thread(height, width);
    const long long image = blockIdx.x, pixels = height * width;
    const SolverState state = state_of_image(states, image, at);
    Strip strip = load_strip(x + image * CHANNELS * pixels, state, at, factors);
    int k = iterations[image];
    publish(strip, at, k % 2);
    if (threadIdx.x < 3) support_sizes[threadIdx.x] = 0;
    __syncthreads();
    int size = block_sum(support_of_strip(strip), k);

    for (long long place = image * stop_count; place < (image + 1) * stop_count; ++place) {
        const long long stop = stops[place];
        while (size < stop && k < max_iterations) {
            const int entered = advance_strip(strip, at, k % 2, factors);
            ++k;
            publish(strip, at, k % 2);
            size = block_sum(entered, k);
        }
        record_strip(strip, at, u + place * CHANNELS * pixels, cut_right + place * (pixels - height),
                     cut_down + place * (pixels - width));
        if (threadIdx.x == 0) {
            sizes[place] = size;
            reached_at[place] = k;
        }
    }
    save_strip(strip, state, at);
    if (threadIdx.x == 0) iterations[image] = k;
}
