// Images of any size: one iteration of a whole batch per launch, one thread per pixel, the state in global memory.
//
// State: [B,PLANES,C,H,W] holding u, z to the right, z downwards and with inertia the last change of u; one copy is
// read while the other is written. The residuals that enter a pixel are computed there again rather than passed on, so
// that one launch is an iteration. An image that has reached its stop pauses until the host resumes it.

#pragma once

#include "step.h"

constexpr int PLANES = INERTIA ? 4 : 3;

// What steers one image. Launches are counted from 0; the state before launch n has its support size at n % 3.
struct Control {
    int stop;       // the support size to pause at
    int limit;      // the launch to pause at in any case
    int paused_at;  // the launch it paused at, or −1
    int sizes[3];
};

struct Grid {
    int height, width, pixels;
};

__device__ inline const float* plane(const float* state, int which, const Grid& grid)
{
    return state + which * CHANNELS * grid.pixels;
}

__device__ inline float* plane(float* state, int which, const Grid& grid)
{
    return state + which * CHANNELS * grid.pixels;
}

__device__ inline Edge load_edge(const float* z, int p, const Grid& grid, const Factors& factors)
{
    Edge edge = {};
    for (int c = 0; c < CHANNELS; ++c) edge.z[c] = z[c * grid.pixels + p];
    rescale(edge, factors);
    return edge;
}

__device__ inline void load_pixel(const float* u, int p, const Grid& grid, float* values)
{
    for (int c = 0; c < CHANNELS; ++c) values[c] = u[c * grid.pixels + p];
}

// r of the edge from pixel p to the pixel whose u is `there`, or 0 where it does not exist.
__device__ inline void enter(const float* u, const float* z, int p, bool exists, const float* there, const Grid& grid,
                             const Factors& factors, float* r)
{
    float here[CHANNELS] = {};
    Edge edge = {};
    if (exists) {
        load_pixel(u, p, grid, here);
        edge = load_edge(z, p, grid, factors);
    }
    for (int c = 0; c < CHANNELS; ++c) r[c] = exists ? residual(edge, c, here[c], there[c], factors) : 0.0f;
}

// Moves the edge from p to q and leaves its r; returns whether it is now in the support.
__device__ inline bool leave(const float* u, const float* z, float* new_z, int p, int q, bool exists,
                             const float* here, const Grid& grid, const Factors& factors, float* r)
{
    float there[CHANNELS] = {};
    Edge edge = {};
    if (exists) {
        load_pixel(u, q, grid, there);
        edge = load_edge(z, p, grid, factors);
    }
    const bool entered = climb(edge, here, there, exists, factors, r);
    for (int c = 0; c < CHANNELS; ++c)
        if (exists) new_z[c * grid.pixels + p] = edge.z[c];
    return exists && entered;
}

// One iteration of one pixel and the edges that leave it; returns how many of these are now in the support.
__device__ inline int advance_pixel(const float* x, const float* from, float* to, int p, const Grid& grid,
                                    const Factors& factors)
{
    const int row = p / grid.width, column = p % grid.width;
    const float *u = plane(from, 0, grid), *right = plane(from, 1, grid), *down = plane(from, 2, grid);
    float here[CHANNELS], from_left[CHANNELS], to_right[CHANNELS], from_above[CHANNELS], to_below[CHANNELS];
    load_pixel(u, p, grid, here);
    enter(u, right, p - 1, column > 0, here, grid, factors, from_left);
    enter(u, down, p - grid.width, row > 0, here, grid, factors, from_above);
    int size = leave(u, right, plane(to, 1, grid), p, p + 1, column + 1 < grid.width, here, grid, factors, to_right);
    size += leave(u, down, plane(to, 2, grid), p, p + grid.width, row + 1 < grid.height, here, grid, factors, to_below);
    for (int c = 0; c < CHANNELS; ++c) {
        const int place = c * grid.pixels + p;
        float velocity = INERTIA ? plane(from, 3, grid)[place] : 0.0f;
        plane(to, 0, grid)[place] =
            descend(here[c], velocity, x[place], from_left[c], to_right[c], from_above[c], to_below[c], factors);
        if (INERTIA) plane(to, 3, grid)[place] = velocity;
    }
    return size;
}

// Blocks: `blocks_per_image` in a row for every image.
extern "C" __global__ void advance_in_grid(const float* __restrict__ x, const float* __restrict__ from,
                                           float* __restrict__ to, Control* controls, int launch, Factors factors,
                                           int height, int width, int blocks_per_image)
{
    const Grid grid = {height, width, height * width};
    const long long image = blockIdx.x / blocks_per_image;
    const int block = blockIdx.x % blocks_per_image;
    const bool leads = block == 0 && threadIdx.x == 0;
    Control& control = controls[image];
    if (control.paused_at >= 0) return;
    if (control.sizes[launch % 3] >= control.stop || launch >= control.limit) {
        if (leads) control.paused_at = launch;  // which changes nothing for the image's other blocks
        return;
    }
    if (leads) control.sizes[(launch + 2) % 3] = 0;

    const int p = block * blockDim.x + threadIdx.x;
    const long long values = (long long)CHANNELS * grid.pixels;
    const int size = p >= grid.pixels ? 0
                                      : advance_pixel(x + image * values, from + image * PLANES * values,
                                                      to + image * PLANES * values, p, grid, factors);
    const int total = __syncthreads_count(size > 0) + __syncthreads_count(size > 1);
    if (threadIdx.x == 0 && total > 0) atomicAdd(&control.sizes[(launch + 1) % 3], total);
}

// The support of states [N,PLANES,C,H,W]: cut_right [N,H,W−1] and cut_down [N,H−1,W].
extern "C" __global__ void find_support(const float* states, bool* cut_right, bool* cut_down, Factors factors,
                                        int height, int width, int blocks_per_image)
{
    const Grid grid = {height, width, height * width};
    const long long image = blockIdx.x / blocks_per_image;
    const int p = blockIdx.x % blocks_per_image * blockDim.x + threadIdx.x;
    if (p >= grid.pixels) return;
    const int row = p / width, column = p % width;
    const float* state = states + image * PLANES * CHANNELS * grid.pixels;
    if (column + 1 < width)
        cut_right[image * (grid.pixels - height) + row * (width - 1) + column] =
            in_support(load_edge(plane(state, 1, grid), p, grid, factors));
    if (row + 1 < height)
        cut_down[image * (grid.pixels - width) + p] = in_support(load_edge(plane(state, 2, grid), p, grid, factors));
}
